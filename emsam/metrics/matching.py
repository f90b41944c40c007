"""One-to-one matching of objects by intersection over union."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from emsam.metrics.contingency import contingency


@dataclass(frozen=True)
class Overlaps:
    """Objects of a pair of label images and how they overlap.

    Attributes
    ----------
    truth, pred, iou
        Row, column and intersection over union of each overlapping pair; shape (n,).
    truth_count, pred_count
        Number of objects.
    pred_ids, pred_sizes
        Of the predicted objects, ascending by id.
    """

    truth: np.ndarray
    pred: np.ndarray
    iou: np.ndarray
    truth_count: int
    pred_count: int
    pred_ids: np.ndarray
    pred_sizes: np.ndarray


def object_overlaps(truth: np.ndarray, pred: np.ndarray) -> Overlaps:
    """Intersection over union of every pair of objects that touch; 0 is no object."""
    table = contingency(truth, pred)
    truth_sizes, pred_sizes = table.truth_sizes, table.pred_sizes
    both = (table.truth_ids[table.truth] != 0) & (table.pred_ids[table.pred] != 0)
    rows, columns, shared = table.truth[both], table.pred[both], table.count[both]
    iou = shared / (truth_sizes[rows] + pred_sizes[columns] - shared)
    true_object, pred_object = table.truth_ids != 0, table.pred_ids != 0
    return Overlaps(
        truth=(np.cumsum(true_object) - 1)[rows],
        pred=(np.cumsum(pred_object) - 1)[columns],
        iou=iou,
        truth_count=int(true_object.sum()),
        pred_count=int(pred_object.sum()),
        pred_ids=table.pred_ids[pred_object],
        pred_sizes=pred_sizes[pred_object],
    )


def count_matches(overlaps: Overlaps, threshold: float) -> int:
    """Largest number of one-to-one pairs with IoU ≥ ``threshold``.

    Above 0.5 an object overlaps at most one other so far and counting is enough; at 0.5 and
    below the pairs are assigned (Hungarian method).
    """
    good = overlaps.iou >= threshold
    if threshold > 0.5:
        return int(good.sum())
    rows, row = np.unique(overlaps.truth[good], return_inverse=True)
    columns, column = np.unique(overlaps.pred[good], return_inverse=True)
    matrix = np.zeros((len(rows), len(columns)))
    matrix[row, column] = 1.0
    chosen = linear_sum_assignment(matrix, maximize=True)
    return int(matrix[chosen].sum())
