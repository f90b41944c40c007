"""The table behind every score: how many pixels each pair of ids shares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_FEW = 2**18
"""A table of so many entries costs less than sorting the runs of a slice."""


@dataclass(frozen=True)
class Contingency:
    """Overlaps of two label images, as a sparse table.

    Attributes
    ----------
    truth, pred
        Index of the row's id among ``truth_ids`` and ``pred_ids``; shape (n,), int64.
    count
        Pixels of each pair; shape (n,), int64, all positive.
    truth_ids, pred_ids
        The ids, ascending; 0 is among them where it occurs.
    """

    truth: np.ndarray
    pred: np.ndarray
    count: np.ndarray
    truth_ids: np.ndarray
    pred_ids: np.ndarray

    @property
    def truth_sizes(self) -> np.ndarray:
        """Pixels of each of ``truth_ids``."""
        return np.bincount(self.truth, self.count, len(self.truth_ids)).astype(np.int64)

    @property
    def pred_sizes(self) -> np.ndarray:
        """Pixels of each of ``pred_ids``."""
        return np.bincount(self.pred, self.count, len(self.pred_ids)).astype(np.int64)

    @property
    def of_objects(self) -> np.ndarray:
        """Rows in which both ids are objects; (n,) bool."""
        both: np.ndarray = (self.truth_ids[self.truth] != 0) & (self.pred_ids[self.pred] != 0)
        return both


def contingency(truth: np.ndarray, pred: np.ndarray) -> Contingency:
    """Count the pixels that each pair of ids shares.

    Objects are compact, so a row of pixels crosses few of them: pixels are first joined into runs
    of one pair of ids, some 20 times fewer than pixels, and only runs are sorted and counted.

    Parameters
    ----------
    truth, pred
        Instance ids of one shape, any integer dtype up to uint64.

    Raises
    ------
    ValueError
        Different shapes, or ids that are no integers.
    """
    if truth.shape != pred.shape:
        raise ValueError(f"truth has shape {truth.shape}, prediction {pred.shape}")
    if truth.dtype.kind not in "uib" or pred.dtype.kind not in "uib":
        raise ValueError(f"ids must be integers, not {truth.dtype} and {pred.dtype}")
    truth_runs, pred_runs, length = _runs(truth.ravel(), pred.ravel())
    truth_ids, rows = _dense(truth_runs)
    pred_ids, columns = _dense(pred_runs)
    code = rows * len(pred_ids) + columns
    if len(truth_ids) * len(pred_ids) <= max(_FEW, code.size):
        count = np.bincount(code, length)  # as float64, which is exact up to 2**53 pixels
        pairs = np.flatnonzero(count)
        count = count[pairs]
    else:
        pairs, inverse = np.unique(code, return_inverse=True)
        count = np.bincount(inverse, length)
    rows, columns = np.divmod(pairs, max(1, len(pred_ids)))
    return Contingency(rows, columns, count.astype(np.int64), truth_ids, pred_ids)


def _runs(truth: np.ndarray, pred: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True id, predicted id and length of each run of pixels in which neither id changes."""
    first = np.ones(truth.size, bool)
    np.not_equal(truth[1:], truth[:-1], out=first[1:])
    first[1:] |= pred[1:] != pred[:-1]
    start = np.flatnonzero(first)
    return truth[start], pred[start], np.diff(start, append=truth.size)


def _dense(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ids that occur, ascending, and for each element the index of its id (int64)."""
    if ids.dtype.kind == "b":
        ids = ids.astype(np.uint8)
    if ids.size and ids.min() >= 0 and int(ids.max()) <= max(_FEW, ids.size):
        present = np.zeros(int(ids.max()) + 1, bool)  # a table beats sorting where ids are small
        present[ids] = True
        return np.flatnonzero(present), (np.cumsum(present) - 1)[ids]
    unique, index = np.unique(ids, return_inverse=True)
    return unique, index.astype(np.int64)
