"""Average precision as detection uses the word: the area under precision and recall."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from emsam.metrics.contingency import Contingency, contingency
from emsam.metrics.matching import Overlaps, object_overlaps

_RECALLS = np.linspace(0.0, 1.0, 101)


def average_precision_coco(
    truth: np.ndarray,
    pred: np.ndarray,
    *,
    threshold: float = 0.5,
    confidence: Mapping[int, float] | None = None,
    table: Contingency | None = None,
) -> float:
    """Mean precision at 101 recalls (COCO); 1 is perfect.

    Predicted objects are taken in order of confidence; each is matched to the free true object
    it overlaps most, if their IoU is at least ``threshold``. Precision is made monotonous and
    read off at the recalls 0, 0.01, …, 1. A recall that is one of these to the digit counts for
    it; pycocotools may lose such a point, worth 1/101, to rounding.

    Parameters
    ----------
    truth, pred
        Instance ids of one shape, 2D or 3D; 0 is background.
    threshold
        Smallest intersection over union of a match.
    confidence
        By predicted id, any numbers, the most confident highest; ids that are missing come last.
        ``None`` ranks by size, the largest first. Equals keep the order of their ids.
    table
        :func:`~emsam.metrics.contingency.contingency` of the two, where it is known already.

    Returns
    -------
    float
        In [0, 1]; NaN where neither image holds an object, 0 where only one does.

    Raises
    ------
    ValueError
        Different shapes, or ids that are no integers.

    References
    ----------
    .. [1] Lin et al., Microsoft COCO: common objects in context, ECCV 2014;
           https://cocodataset.org/#detection-eval
    """
    overlaps = object_overlaps(table or contingency(truth, pred))
    if overlaps.truth_count == 0 or overlaps.pred_count == 0:
        empty = overlaps.truth_count == overlaps.pred_count
        return float("nan") if empty else 0.0
    hit = _greedy_hits(overlaps, _ranking(overlaps, confidence), threshold)
    return _mean_precision(hit, overlaps.truth_count)


def _ranking(overlaps: Overlaps, confidence: Mapping[int, float] | None) -> np.ndarray:
    """Predicted objects, the most confident first; ties keep the order of their ids."""
    if confidence is None:
        return np.argsort(-overlaps.pred_sizes, kind="stable")
    values = np.array([confidence.get(int(each), -np.inf) for each in overlaps.pred_ids])
    return np.argsort(-values, kind="stable")


def _greedy_hits(overlaps: Overlaps, rank: np.ndarray, threshold: float) -> np.ndarray:
    """For each predicted object in order of ``rank``: did it find a free true object?"""
    good = overlaps.iou >= threshold
    candidates: dict[int, list[tuple[float, int]]] = {}
    for row, column, iou in zip(
        overlaps.truth[good], overlaps.pred[good], overlaps.iou[good], strict=True
    ):
        candidates.setdefault(int(column), []).append((float(iou), int(row)))
    taken: set[int] = set()
    hit = np.zeros(len(rank), bool)
    for place, column in enumerate(rank):
        free = [pair for pair in candidates.get(int(column), ()) if pair[1] not in taken]
        if free:
            taken.add(max(free)[1])
            hit[place] = True
    return hit


def _mean_precision(hit: np.ndarray, truth_count: int) -> float:
    """Mean of the monotonous precision at COCO's recalls; 0 beyond the last recall reached."""
    hits = np.cumsum(hit)
    precision = hits / np.arange(1, len(hit) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    where = np.searchsorted(hits / truth_count, _RECALLS - 1e-12)
    return float(np.append(precision, 0.0)[where].mean())
