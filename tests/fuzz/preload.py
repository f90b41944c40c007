"""Imports that every case would pay for, before the first process is forked."""

from __future__ import annotations

import os


def preload() -> None:
    """Import what readers and commands import."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import torch

    torch.set_num_threads(1)

    import emsam.cli.app
    import emsam.data.catalog.archives
    import emsam.data.ingest
    import emsam.launch.jobs
    import emsam.model.cost
    import emsam.model.package
    import emsam.model.sam_checkpoint
    import emsam.model.weights
    import emsam.registry.decision
    import emsam.train.evaluation
    import emsam.train.run_directory

    emsam.model.torchvision_ops.declare_missing_operators()
    import segment_anything  # noqa: F401
