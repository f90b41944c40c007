"""One-to-one matching of objects by intersection over union."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from emsam.metrics.contingency import Contingency


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


def object_overlaps(table: Contingency) -> Overlaps:
    """Intersection over union of every pair of objects that share a pixel; 0 is no object."""
    truth_sizes, pred_sizes = table.truth_sizes, table.pred_sizes
    both = table.of_objects
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
    """Largest number of one-to-one pairs with IoU ≥ ``threshold`` (Hopcroft and Karp).

    Above 0.5 no two such pairs can share an object. At 0.5 they can, as two halves of an object
    do; then the matching decides how many count, not the order of the ids.
    """
    good = overlaps.iou >= threshold
    rows, columns = overlaps.truth[good], overlaps.pred[good]
    if threshold > 0.5 or not rows.size:
        return len(rows)
    shape = (overlaps.truth_count, overlaps.pred_count)
    graph = csr_array((np.ones(len(rows), bool), (rows, columns)), shape=shape)
    return int((maximum_bipartite_matching(graph, perm_type="column") >= 0).sum())
