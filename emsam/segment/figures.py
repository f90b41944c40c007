"""Pictures for people: image | truth | prediction | errors."""

from __future__ import annotations

import numpy as np
from skimage.segmentation import find_boundaries

from emsam.metrics.contingency import contingency

SPLIT_COLOUR = (230, 159, 0)  # orange and sky blue of Okabe & Ito's palette, told apart by all
MERGE_COLOUR = (86, 180, 233)
_GAP = 4


def draw_slice(image: np.ndarray, truth: np.ndarray, pred: np.ndarray) -> np.ndarray:
    """A row of four panels.

    The last panel shows errors over the image: boundaries that the truth does not have (a split)
    in orange, boundaries of the truth that are not predicted (a merge) in blue.

    Parameters
    ----------
    image
        (y, x) float in [0, 1].
    truth, pred
        Instance ids (y, x).

    Returns
    -------
    ndarray
        (y, 4 x + gaps, 3) uint8.
    """
    grey = np.repeat((image * 255).astype(np.uint8)[..., None], 3, axis=2)
    panels = [grey, overlay(grey, truth), overlay(grey, _match_ids(truth, pred)),
              draw_errors(grey, truth, pred)]  # fmt: skip
    gap = np.full((grey.shape[0], _GAP, 3), 255, np.uint8)
    row = [part for panel in panels for part in (panel, gap)]
    return np.concatenate(row[:-1], axis=1)


def overlay(grey: np.ndarray, ids: np.ndarray, opacity: float = 0.45) -> np.ndarray:
    """Objects in colours over a grey picture (y, x, 3) uint8; 0 stays grey."""
    colours = _palette(int(ids.max()) + 1)[ids]
    mixed = (1 - opacity) * grey + opacity * colours
    return np.where(ids[..., None] > 0, mixed, grey).astype(np.uint8)


def draw_errors(grey: np.ndarray, truth: np.ndarray, pred: np.ndarray) -> np.ndarray:
    """Splits in orange and merges in blue over a grey picture (y, x, 3) uint8."""
    picture = (grey * 0.6).astype(np.uint8)
    inside = truth > 0
    picture[find_boundaries(pred, mode="inner") & _is_deep(truth)] = SPLIT_COLOUR
    true_boundary = ~inside | find_boundaries(truth, mode="inner")
    picture[true_boundary & _is_deep(pred)] = MERGE_COLOUR
    return picture


def _is_deep(ids: np.ndarray) -> np.ndarray:
    """Pixels well inside an object: more than two pixels from its boundary."""
    near = find_boundaries(ids, mode="thick")
    for _ in range(2):
        grown = near.copy()
        grown[1:] |= near[:-1]
        grown[:-1] |= near[1:]
        grown[:, 1:] |= near[:, :-1]
        grown[:, :-1] |= near[:, 1:]
        near = grown
    return (ids > 0) & ~near


def _match_ids(truth: np.ndarray, pred: np.ndarray) -> np.ndarray:
    """Predicted objects renamed after the true object they cover most, to share its colour."""
    table = contingency(truth, pred)
    order = np.argsort(table.count)
    names = {int(k): int(k) + int(truth.max()) + 1 for k in table.pred_ids if k != 0}
    taken: dict[int, int] = {}
    for index in order:
        true_id = int(table.truth_ids[table.truth[index]])
        pred_id = int(table.pred_ids[table.pred[index]])
        if true_id and pred_id:
            taken[pred_id] = true_id
    lookup = np.zeros(int(pred.max()) + 1, np.int64)
    for pred_id, fallback in names.items():
        lookup[pred_id] = taken.get(pred_id, fallback)
    return lookup[pred]


def _palette(count: int) -> np.ndarray:
    """``count`` bright colours, uint8; the same id has the same colour everywhere."""
    ids = np.arange(count, dtype=np.uint64)
    mixed = (ids * np.uint64(2654435761)) % np.uint64(1 << 24)
    parts = np.stack([(mixed >> np.uint64(shift)) & np.uint64(255) for shift in (0, 8, 16)], axis=1)
    return (64 + parts * 191 // 255).astype(np.uint8)
