"""Intersection over union of every pair of objects, by masks."""

from __future__ import annotations

from fractions import Fraction

import numpy as np


def objects_of(labels: np.ndarray) -> list[int]:
    """Ids of the objects, ascending."""
    return sorted({int(each) for each in labels.flat} - {0})


def iou_table(truth: np.ndarray, pred: np.ndarray) -> dict[tuple[int, int], Fraction]:
    """(true id, predicted id) → IoU, exactly."""
    table = {}
    for t in objects_of(truth):
        for p in objects_of(pred):
            a, b = truth == t, pred == p
            table[t, p] = Fraction(int((a & b).sum()), int((a | b).sum()))
    return table
