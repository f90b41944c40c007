"""The two label images of a slice as they are compared."""

from __future__ import annotations

import numpy as np

from emsam.metrics.grow import grow_labels
from emsam.params import Task


def scored_pixels(
    truth: np.ndarray,
    pred: np.ndarray,
    task: Task,
    *,
    grow: bool = True,
    labelled: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Truth and prediction of a slice, as every score of it takes them.

    Parameters
    ----------
    truth, pred
        Instance ids, shape (y, x).
    grow
        Grow predicted neurites until they touch; mitochondria never are.
    labelled
        (y, x) bool: pixels that count. The others are background in both images, after growing.
    """
    if task == "neurites" and grow:
        pred = grow_labels(pred)
    if labelled is not None:
        truth, pred = truth * labelled, pred * labelled
    return truth, pred
