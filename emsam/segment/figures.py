"""Pictures for people: image | truth | prediction | errors."""

from __future__ import annotations

import numpy as np
from skimage.segmentation import find_boundaries

from emsam.metrics.contingency import contingency

SPLIT_COLOUR = (230, 159, 0)  # Okabe & Ito's palette, told apart by colour-blind people too
MERGE_COLOUR = (86, 180, 233)
MISSED_COLOUR = (204, 121, 167)
EXTRA_COLOUR = (240, 228, 66)
_GAP = 4


def draw_panels(image: np.ndarray, truth: np.ndarray, pred: np.ndarray) -> list[np.ndarray]:
    """Pictures of image, truth, prediction and errors, each (y, x, 3) uint8.

    A predicted object has the colour of the true object that it covers most. For the errors see
    :func:`draw_errors`.

    Parameters
    ----------
    image
        (y, x) float in [0, 1].
    truth, pred
        Instance ids (y, x).
    """
    grey = np.repeat((image * 255).astype(np.uint8)[..., None], 3, axis=2)
    matched = _match_ids(truth, pred)
    return [grey, overlay(grey, truth), overlay(grey, matched), draw_errors(grey, truth, pred)]


def draw_slice(image: np.ndarray, truth: np.ndarray, pred: np.ndarray) -> np.ndarray:
    """The pictures of :func:`draw_panels` in a row, (y, 4 x + gaps, 3) uint8."""
    return _in_a_row(draw_panels(image, truth, pred))


def draw_comparison(image: np.ndarray, truth: np.ndarray, preds: list[np.ndarray]) -> np.ndarray:
    """Image, truth and the predictions of several models in a row, (y, n x + gaps, 3) uint8."""
    grey = np.repeat((image * 255).astype(np.uint8)[..., None], 3, axis=2)
    matched = [overlay(grey, _match_ids(truth, pred)) for pred in preds]
    return _in_a_row([grey, overlay(grey, truth), *matched])


def _in_a_row(panels: list[np.ndarray]) -> np.ndarray:
    gap = np.full((panels[0].shape[0], _GAP, 3), 255, np.uint8)
    row = [part for panel in panels for part in (panel, gap)]
    return np.concatenate(row[:-1], axis=1)


def overlay(grey: np.ndarray, ids: np.ndarray, opacity: float = 0.45) -> np.ndarray:
    """Objects in colours over a grey picture (y, x, 3) uint8; 0 stays grey."""
    present, index = np.unique(ids, return_inverse=True)
    colours = _colours(present)[index.reshape(ids.shape)]
    mixed = (1 - opacity) * grey + opacity * colours
    return np.where(ids[..., None] > 0, mixed, grey).astype(np.uint8)


def draw_errors(grey: np.ndarray, truth: np.ndarray, pred: np.ndarray) -> np.ndarray:
    """Errors over a grey picture (y, x, 3) uint8.

    Orange: a boundary inside a true object (a split). Blue: a prediction over a true boundary
    or over background (a merge). Pink: the inside of a true object that nothing covers.
    """
    picture = (grey * 0.6).astype(np.uint8)
    inside = truth > 0
    deep = _is_deep(truth)
    picture[deep & (pred == 0)] = MISSED_COLOUR
    picture[deep & find_boundaries(pred, mode="inner")] = SPLIT_COLOUR
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
    largest = int(truth.max())
    names = np.where(table.pred_ids > 0, largest + 1 + np.arange(len(table.pred_ids)), 0)
    both = table.of_objects
    order = np.argsort(table.count[both])  # the largest overlap comes last and stays
    names[table.pred[both][order]] = table.truth_ids[table.truth[both][order]]
    return names[np.searchsorted(table.pred_ids, pred)]


def _colours(ids: np.ndarray) -> np.ndarray:
    """A bright colour (n, 3) uint8 for each id; the same id has the same colour everywhere."""
    mixed = (ids.astype(np.uint64) * np.uint64(2654435761)) % np.uint64(1 << 24)
    parts = np.stack([(mixed >> np.uint64(shift)) & np.uint64(255) for shift in (0, 8, 16)], axis=1)
    return (64 + parts * 191 // 255).astype(np.uint8)
