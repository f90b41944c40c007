"""What a prediction did wrong, object by object, and where to look."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emsam.metrics.contingency import Contingency, contingency
from emsam.metrics.rand_error_terms import rand_error_terms

SPLIT, MERGE, MISSED, EXTRA = "split", "merge", "missed", "extra"
SHARE = 0.2
"""A piece counts from this share of the smaller of its two objects on; what is less is a boundary
drawn elsewhere."""
SMALLEST = 10
"""Pixels of the smallest piece that counts."""


@dataclass(frozen=True)
class SegmentationError:
    """One object that is not as it should be.

    Attributes
    ----------
    kind
        ``split``: a true object in two pieces or more. ``missed``: one of which less than half is
        predicted. ``merge``: a predicted object with two pieces or more. ``extra``: one of which
        less than half is an object.
    y, x
        A pixel inside the wrong piece, the largest if there are several.
    area
        Pixels that are in the wrong object, or in none.
    severity
        What the object adds to the adapted Rand error of the image
        (:func:`~emsam.metrics.rand_error_terms.rand_error_terms`). That sum knows nothing of what
        is predicted over background: an extra object has the square of those pixels over the
        same total.
    truth, pred
        Ids of true and predicted objects that take part, the largest piece first.
    """

    kind: str
    y: int
    x: int
    area: int
    severity: float
    truth: tuple[int, ...]
    pred: tuple[int, ...]


def list_errors(
    truth: np.ndarray,
    pred: np.ndarray,
    *,
    background: bool,
    share: float = SHARE,
    smallest: int = SMALLEST,
) -> list[SegmentationError]:
    r"""Errors of a predicted slice, the worst first.

    A *piece* is a pair of a true and a predicted object, of :math:`a` and :math:`b` pixels, that
    share at least ``share`` :math:`\min(a, b)`.

    Parameters
    ----------
    truth, pred
        Instance ids (y, x), as they are scored.
    background
        Whether true background is real, as between mitochondria. Between neurites it is
        membrane, and nothing over it is an error, so there is nothing extra.
    share, smallest
        What a piece is; ``smallest`` in pixels also holds for what is missed or extra.

    Raises
    ------
    ValueError
        Different shapes, or ids that are no integers.

    References
    ----------
    .. [1] Nunez-Iglesias et al., Machine learning of hierarchical clustering to segment 2D and
           3D images, PLoS ONE 8(8):e71715, 2013 (errors ranked by what each object adds).
    """
    table = contingency(truth, pred)
    found = _Table(table, share, smallest)
    drafts = [*found.of_truth(), *found.of_pred(background)]
    drafts.sort(key=lambda each: (-each.severity, -each.area, each.place))
    places = _points(truth, pred, table, [each.place for each in drafts])
    return [
        SegmentationError(each.kind, y, x, each.area, each.severity, each.truth, each.pred)
        for each, (y, x) in zip(drafts, places, strict=True)
    ]


@dataclass(frozen=True)
class _Draft:
    """An error whose point is not known yet; ``place`` is the row of the table that it is in."""

    kind: str
    place: int
    area: int
    severity: float
    truth: tuple[int, ...]
    pred: tuple[int, ...]


class _Table:
    """The table of overlaps: which of its rows are pieces, and what is wrong with an object."""

    def __init__(self, table: Contingency, share: float, smallest: int) -> None:
        self.table, self.smallest = table, smallest
        self.terms = rand_error_terms(table)
        self.in_truth = table.truth_ids[table.truth] != 0
        self.in_pred = table.pred_ids[table.pred] != 0
        smaller = np.minimum(table.truth_sizes[table.truth], table.pred_sizes[table.pred])
        self.piece = table.of_objects & (table.count >= np.maximum(smallest, share * smaller))

    def of_truth(self) -> list[_Draft]:
        """Split and missed objects."""
        table = self.table
        found = []
        for index, rows in _groups(table.truth, self.in_truth):
            covered = rows[self.in_pred[rows]]
            area = int(table.count[rows].sum() - table.count[covered].sum())
            pieces = self._largest_first(rows[self.piece[rows]])
            severity = self.terms.truth[index] / self.terms.total
            truth = (int(table.truth_ids[index]),)
            pred = tuple(int(table.pred_ids[table.pred[row]]) for row in pieces)
            if 2 * area > table.count[rows].sum() and area >= self.smallest:
                gap = int(rows[~self.in_pred[rows]][0])
                found.append(_Draft(MISSED, gap, area, severity, truth, pred))
            elif len(pieces) > 1:
                area = int(table.count[pieces[1:]].sum())
                found.append(_Draft(SPLIT, int(pieces[1]), area, severity, truth, pred))
        return found

    def of_pred(self, background: bool) -> list[_Draft]:
        """Merged objects, and those over background."""
        table = self.table
        found = []
        for index, rows in _groups(table.pred, self.in_pred):
            pieces = self._largest_first(rows[self.piece[rows]])
            pred = (int(table.pred_ids[index]),)
            truth = tuple(int(table.truth_ids[table.truth[row]]) for row in pieces)
            outside = rows[~self.in_truth[rows]]
            area = int(table.count[outside].sum())
            if len(pieces) > 1:
                severity = self.terms.pred[index] / self.terms.total
                wrong = int(table.count[pieces[1:]].sum())
                found.append(_Draft(MERGE, int(pieces[1]), wrong, severity, truth, pred))
            elif background and 2 * area > table.count[rows].sum() and area >= self.smallest:
                severity = area**2 / max(self.terms.total, float(area) ** 2)
                found.append(_Draft(EXTRA, int(outside[0]), area, severity, truth, pred))
        return found

    def _largest_first(self, rows: np.ndarray) -> np.ndarray:
        return rows[np.argsort(-self.table.count[rows], kind="stable")]


def _groups(index: np.ndarray, wanted: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Rows of the table by object, of the rows that are wanted."""
    rows = np.flatnonzero(wanted)
    rows = rows[np.argsort(index[rows], kind="stable")]
    first = np.flatnonzero(np.diff(index[rows], prepend=-1))
    return [(int(index[part[0]]), part) for part in np.split(rows, first[1:]) if part.size]


def _points(
    truth: np.ndarray, pred: np.ndarray, table: Contingency, rows: list[int]
) -> list[tuple[int, int]]:
    """For each row of the table the pixel of that pair nearest to the pair's centre."""
    codes = table.truth * len(table.pred_ids) + table.pred
    wanted, place = np.unique(codes[rows], return_inverse=True)
    if not wanted.size:
        return []
    # most pixels take part in no error: they are dropped by id before anything is looked up
    chosen = np.isin(truth, table.truth_ids[wanted // len(table.pred_ids)])
    y, x = np.nonzero(chosen & np.isin(pred, table.pred_ids[wanted % len(table.pred_ids)]))
    code = np.searchsorted(table.truth_ids, truth[y, x]) * len(table.pred_ids)
    code = code + np.searchsorted(table.pred_ids, pred[y, x])
    at = np.minimum(np.searchsorted(wanted, code), len(wanted) - 1)
    inside = wanted[at] == code
    y, x, at = y[inside], x[inside], at[inside]
    pixels = np.bincount(at)
    far = (y - (np.bincount(at, y) / pixels)[at]) ** 2 + (
        x - (np.bincount(at, x) / pixels)[at]
    ) ** 2
    order = np.lexsort((x, y, far, at))
    nearest = order[np.flatnonzero(np.diff(at[order], prepend=-1))]
    return [(int(y[nearest[each]]), int(x[nearest[each]])) for each in place]
