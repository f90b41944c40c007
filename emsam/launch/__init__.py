"""Start, watch, stop and adopt a training process."""
