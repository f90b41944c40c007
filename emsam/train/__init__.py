"""Fine-tuning: augmentation, targets, losses, the run directory, the loop.

``python -m emsam.train RUN`` is the training process; all it knows is the run directory.
"""
