"""All metric variants of a task for a volume whose ids go through the slices."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from emsam.metrics.grow import grow_labels
from emsam.metrics.task_scores import task_scores
from emsam.params import Task


def score_volume(
    truth: np.ndarray,
    pred: np.ndarray,
    task: Task,
    *,
    grow: bool = True,
    voxel_size: tuple[float, float, float] = (1.0, 1.0, 1.0),
    confidence: Mapping[int, float] | None = None,
) -> dict[str, float]:
    """Scores of one volume, by the variant's name.

    Those of :func:`~emsam.metrics.score_slice.score_slice` with ``3d`` for ``2d``: an object is
    all voxels of an id, so a neurite whose id changes from slice to slice is split.

    Parameters
    ----------
    truth, pred
        Instance ids, shape (z, y, x).
    grow
        ``False`` scores neurites as they were predicted.
    voxel_size
        z, y, x in nm; what is nearest when neurites are grown. The counts are of voxels.
    confidence
        By predicted id, for the COCO variants.

    Raises
    ------
    ValueError
        Different shapes, or ids that are no integers.
    """
    if task == "neurites" and grow:
        pred = grow_labels(pred, voxel_size=voxel_size)
    return task_scores(truth, pred, task, confidence=confidence)
