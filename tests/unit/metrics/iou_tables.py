"""Intersection over union of every pair of objects, by masks; and what follows from it."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np


def objects_of(labels: np.ndarray) -> list[int]:
    """Ids of the objects, ascending."""
    return sorted(set(labels.ravel().tolist()) - {0})


def iou_table(truth: np.ndarray, pred: np.ndarray) -> dict[tuple[int, int], Fraction]:
    """(true id, predicted id) → IoU, exactly."""
    size = {p: int((pred == p).sum()) for p in objects_of(pred)}
    table = {}
    for t in objects_of(truth):
        inside = Counter(pred[truth == t].tolist())
        for p in size:
            table[t, p] = Fraction(inside[p], inside.total() + size[p] - inside[p])
    return table


def coco_by_the_book(
    truth: np.ndarray, pred: np.ndarray, threshold: float, order: list[int]
) -> float:
    """COCO's rules in exact fractions; a tie of IoU goes to the later object, as in pycocotools."""
    table, objects = iou_table(truth, pred), objects_of(truth)
    free, hits, points = set(objects), 0, []
    for seen, p in enumerate(order, start=1):
        good = [(table[t, p], t) for t in free if table[t, p] >= Fraction(threshold)]
        if good:
            free.remove(max(good)[1])
            hits += 1
        points.append((Fraction(hits, len(objects)), Fraction(hits, seen)))
    best = [
        max((precision for recall, precision in points if recall >= Fraction(k, 100)), default=0)
        for k in range(101)
    ]
    return float(sum(best) / 101)


def by_size(pred: np.ndarray) -> list[int]:
    """Ids of the objects, the largest first, equals in their order."""
    return sorted(objects_of(pred), key=lambda p: (-int((pred == p).sum()), p))
