"""All metric variants of a task for one pair of label images."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from emsam.metrics.arand_contest import arand_contest
from emsam.metrics.average_precision_accuracy import average_precision_accuracy
from emsam.metrics.average_precision_coco import average_precision_coco
from emsam.metrics.grow import grow_labels
from emsam.metrics.variation_of_information import variation_of_information
from emsam.params import Task

PRIMARY: dict[Task, str] = {"neurites": "arand_contest_2d", "mitochondria": "ap50_accuracy_2d"}
"""The metric that ranks models of a task."""
LOWER_IS_BETTER = frozenset({"arand_contest_2d", "voi_split_2d", "voi_merge_2d"})


def score_slice(
    truth: np.ndarray,
    pred: np.ndarray,
    task: Task,
    *,
    grow: bool = True,
    confidence: Mapping[int, float] | None = None,
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
    """
    if task == "neurites":
        grown = grow_labels(pred) if grow else pred
        split, merge = variation_of_information(truth, grown)
        return {
            "arand_contest_2d": arand_contest(truth, grown),
            "voi_split_2d": split,
            "voi_merge_2d": merge,
        }
    scores = {}
    for percent in (50, 75):
        threshold = percent / 100
        scores[f"ap{percent}_accuracy_2d"] = average_precision_accuracy(
            truth, pred, threshold=threshold
        )
        scores[f"ap{percent}_coco_2d"] = average_precision_coco(
            truth, pred, threshold=threshold, confidence=confidence
        )
    return scores
