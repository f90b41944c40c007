"""All metric variants of a task for one slice."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from emsam.metrics.scored_pixels import scored_pixels
from emsam.metrics.task_scores import task_scores
from emsam.params import Task


def score_slice(
    truth: np.ndarray,
    pred: np.ndarray,
    task: Task,
    *,
    grow: bool = True,
    confidence: Mapping[int, float] | None = None,
    labelled: np.ndarray | None = None,
) -> dict[str, float]:
    """Scores of one slice, by the variant's name.

    Neurites: ``arand_contest_2d``, ``voi_split_2d``, ``voi_merge_2d``, with the predicted objects
    grown until they touch. Mitochondria: ``ap50_accuracy_2d``, ``ap75_accuracy_2d``,
    ``ap50_coco_2d``, ``ap75_coco_2d``; background is real there and nothing is grown.

    Parameters
    ----------
    truth, pred
        Instance ids, shape (y, x).
    grow
        ``False`` scores neurites as they were predicted.
    confidence
        By predicted id, for the COCO variants.
    labelled
        (y, x) bool: pixels that count. The others are background in both images, after growing.

    Raises
    ------
    ValueError
        Different shapes, or ids that are no integers.
    """
    truth, pred = scored_pixels(truth, pred, task, grow=grow, labelled=labelled)
    return task_scores(truth, pred, task, confidence=confidence)
