"""All metric variants of a task for one pair of label images, from one table of overlaps."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from emsam.metrics.arand_contest import arand_contest
from emsam.metrics.average_precision_accuracy import average_precision_accuracy
from emsam.metrics.average_precision_coco import average_precision_coco
from emsam.metrics.contingency import contingency
from emsam.metrics.variation_of_information import variation_of_information
from emsam.params import Task


def task_scores(
    truth: np.ndarray,
    pred: np.ndarray,
    task: Task,
    *,
    confidence: Mapping[int, float] | None = None,
) -> dict[str, float]:
    """Scores by the variant's name, which ends in ``_2d`` or ``_3d`` as the images do.

    Neurites: ``arand_contest``, ``voi_split``, ``voi_merge``. Mitochondria: ``ap50_accuracy``,
    ``ap50_coco``, ``ap75_accuracy``, ``ap75_coco``.

    Parameters
    ----------
    truth, pred
        Instance ids of one shape, (y, x) or (z, y, x).
    confidence
        By predicted id, for the COCO variants.

    Raises
    ------
    ValueError
        Different shapes, or ids that are no integers.
    """
    table = contingency(truth, pred)
    if task == "neurites":
        split, merge = variation_of_information(truth, pred, table=table)
        arand = arand_contest(truth, pred, table=table)
        scores = {"arand_contest": arand, "voi_split": split, "voi_merge": merge}
    else:
        scores = {}
        for percent in (50, 75):
            threshold = percent / 100
            scores[f"ap{percent}_accuracy"] = average_precision_accuracy(
                truth, pred, threshold=threshold, table=table
            )
            scores[f"ap{percent}_coco"] = average_precision_coco(
                truth, pred, threshold=threshold, confidence=confidence, table=table
            )
    return {f"{name}_{truth.ndim}d": value for name, value in scores.items()}
