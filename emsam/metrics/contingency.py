"""The table behind every score: how many pixels each pair of ids shares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


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


def contingency(truth: np.ndarray, pred: np.ndarray) -> Contingency:
    """Count the pixels that each pair of ids shares.

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
    truth_ids, truth_index = _dense(truth)
    pred_ids, pred_index = _dense(pred)
    pairs, count = np.unique(truth_index * len(pred_ids) + pred_index, return_counts=True)
    rows, columns = np.divmod(pairs, max(1, len(pred_ids)))
    return Contingency(rows, columns, count.astype(np.int64), truth_ids, pred_ids)


def _dense(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ids, ascending, and for each pixel the index of its id (int64, flat)."""
    flat = labels.ravel()
    if flat.size and flat.dtype.kind == "u" and int(flat.max()) <= 4 * flat.size:
        present = np.bincount(flat) > 0  # counting beats sorting where ids are small
        return np.flatnonzero(present), (np.cumsum(present) - 1)[flat]
    ids, index = np.unique(flat, return_inverse=True)
    return ids, index.astype(np.int64)
