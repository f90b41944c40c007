"""The objects of a slice of labels: their areas, their parts, and whether they lie on an image.

A slice is read as *runs*: pixels of one id, side by side in a row. There are some 20 times fewer
runs than pixels, so what is done for each run costs little.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BLANK_RANGE = 0.02
"""Part of a slice's grey range within which an object counts as constant.

Padding is exactly constant, or nearly so after JPEG. Every object of the five real sets (20 pixels
and more) uses more than a twentieth of the range of its slice.
"""
BLANK_AREA = 20
"""Smallest object, in pixels, that is called constant; a few pixels are alike by chance."""


@dataclass(frozen=True)
class SliceObjects:
    """The objects of one slice; arrays of shape (n,), one entry an id.

    Attributes
    ----------
    ids
        Ids above 0 that are there, ascending.
    areas
        Pixels of each.
    parts
        Connected parts of each; pixels that touch by a corner are connected.
    largest
        Pixels of the largest part of each.
    """

    ids: np.ndarray
    areas: np.ndarray
    parts: np.ndarray
    largest: np.ndarray


def measure_objects(labels: np.ndarray) -> SliceObjects:
    """Areas and connected parts of every object of ``labels``, unsigned integers (y, x)."""
    starts, lengths, values = _runs(labels)
    if not starts.size:
        return SliceObjects(*(np.empty(0, t) for t in (labels.dtype, int, int, int)))
    ids, of_run = np.unique(values, return_inverse=True)
    part_of_run = _connected(starts, lengths, values, labels.shape[1])
    id_of_part = np.empty(part_of_run.max() + 1, np.intp)
    id_of_part[part_of_run] = of_run
    part_areas = np.bincount(part_of_run, lengths).astype(np.int64)
    largest = np.zeros(len(ids), np.int64)
    np.maximum.at(largest, id_of_part, part_areas)
    return SliceObjects(
        ids, np.bincount(of_run, lengths).astype(np.int64), np.bincount(id_of_part), largest
    )


def constant_objects(labels: np.ndarray, image: np.ndarray, objects: SliceObjects) -> np.ndarray:
    """Ids of the objects in whose place the image is constant, such as in padding.

    Parameters
    ----------
    labels, image
        The slice, both (y, x).
    objects
        What :func:`measure_objects` gives for ``labels``.
    """
    low, high = float(image.min()), float(image.max())
    suspects = objects.ids[objects.areas >= BLANK_AREA]
    for step in (4, 1):  # every fourth row clears nearly all objects of an image
        if not suspects.size:
            break
        suspects = _within(labels[::step], image[::step], suspects, BLANK_RANGE * (high - low))
    return suspects


def same_id_share(labels: np.ndarray, before: np.ndarray) -> float:
    """Of the pixels with an id in both slices, the part with the same id; 0 if there are none.

    Near 1 where ids go through the slices, near 0 where every slice counts from 1.
    """
    labels, before = labels[::4], before[::4]
    both = (labels > 0) & (before > 0)
    count = np.count_nonzero(both)
    return float(np.count_nonzero(both & (labels == before)) / count) if count else 0.0


def _within(
    labels: np.ndarray, image: np.ndarray, suspects: np.ndarray, tolerance: float
) -> np.ndarray:
    """Those of ``suspects`` (ascending) whose grey values differ by at most ``tolerance``."""
    starts, lengths, values = _runs(labels)
    where = np.searchsorted(suspects, values).clip(max=len(suspects) - 1)
    kept = suspects[where] == values
    starts, lengths, where = starts[kept], lengths[kept], where[kept]
    grey = image.ravel()
    low, high = np.full(len(suspects), np.inf), np.full(len(suspects), -np.inf)
    if starts.size:
        bounds = np.stack([starts, starts + lengths], axis=1).ravel()
        bounds = bounds[:-1] if bounds[-1] == grey.size else bounds
        np.minimum.at(low, where, np.minimum.reduceat(grey, bounds)[::2])
        np.maximum.at(high, where, np.maximum.reduceat(grey, bounds)[::2])
    return suspects[high - low <= tolerance]


def _runs(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First pixel in the flat slice, length and id of every run with an id above 0."""
    flat = labels.ravel()
    changes = np.empty(flat.size, bool)
    np.not_equal(flat[1:], flat[:-1], out=changes[1:])
    changes[:: labels.shape[1]] = True
    starts = np.flatnonzero(changes)
    lengths = np.diff(starts, append=flat.size)
    values = flat[starts]
    inside = values > 0
    return starts[inside], lengths[inside], values[inside]


def _connected(
    starts: np.ndarray, lengths: np.ndarray, values: np.ndarray, width: int
) -> np.ndarray:
    """Number of the part, from 0, that each run belongs to.

    Two runs of neighbouring rows touch if one begins above or below a pixel of the other, or of
    the pixel after its end.
    """
    # an image without labels is ingested before these are imported
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ends = starts + lengths
    row = starts // width
    pairs = []
    for step in (-1, 1):
        for aside in (-1, 0):
            pixel = starts + step * width + aside
            other = (np.searchsorted(starts, pixel, side="right") - 1).clip(min=0)
            touch = (starts[other] <= pixel) & (pixel < ends[other]) & (row[other] == row + step)
            touch &= values[other] == values
            pairs.append(np.stack([np.flatnonzero(touch), other[touch]]))
    one, two = np.concatenate(pairs, axis=1)
    graph = coo_array((np.ones(one.size, bool), (one, two)), shape=(starts.size, starts.size))
    return connected_components(graph, directed=False)[1]
