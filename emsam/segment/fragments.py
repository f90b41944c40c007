"""Seeds and fragments: where the interior of objects is sure, grown by a watershed."""

from __future__ import annotations

import numpy as np
from bioimage_cpp.segmentation import watershed, watershed_from_affinities
from scipy.ndimage import label

_LEVELS = (1.0, 5 / 6, 2 / 3, 1 / 2)
"""Parts of the threshold at which fragments are looked for, one after the other."""
_NEIGHBOURS = ((0, 1), (1, 0))


def interior_map(maps: np.ndarray) -> np.ndarray:
    """How likely a pixel lies inside an object, (y, x) float32.

    The foreground times the smaller of the affinities to the next pixel in x and in y, which are
    channels 1 and 2.
    """
    interior: np.ndarray = maps[0] * np.minimum(maps[1], maps[2])
    return interior


def grow_seeds(
    interior: np.ndarray, threshold: float, min_size: int, mask: np.ndarray
) -> np.ndarray:
    """Connected parts of the interior above a threshold, grown over a mask by a watershed.

    Parameters
    ----------
    interior
        (y, x) float32.
    threshold
        Seeds are the 4-connected parts of ``interior > threshold``.
    min_size
        Smaller seeds, in pixels, are dropped.
    mask
        (y, x) bool: pixels beside the seeds that are grown over.

    Returns
    -------
    ndarray
        (y, x) uint32, 0 outside; not dense.
    """
    seeds = drop_small(label(interior > threshold)[0], min_size).astype(np.uint32)
    return watershed(-interior, seeds, mask=mask | (seeds > 0))


def make_fragments(
    interior: np.ndarray, affinities: np.ndarray, threshold: float, min_size: int
) -> np.ndarray:
    """Cover a slice with fragments, each of one object if the maps are right.

    Connected parts of the interior above ``threshold`` are seeds; where none lies, connected
    parts above 5/6, 2/3 and 1/2 of it are, so that an object of which the network is less sure is
    not lost to its neighbour. They grow along the strongest affinities, across membranes too:
    there it can be measured how alike two fragments are.

    Parameters
    ----------
    interior
        (y, x) float32.
    affinities
        (2, y, x) float32, to the next pixel in x and in y.
    min_size
        Smaller seeds, in pixels, are dropped.

    Returns
    -------
    ndarray
        (y, x) uint32: every pixel belongs to a fragment, from 1; all 0 where there is none.
    """
    seeds = np.zeros(interior.shape, np.int64)
    for level in _LEVELS:
        parts, _ = label(interior > level * threshold)
        is_new = np.bincount(parts.ravel()) >= max(min_size, 1)
        is_new[parts[seeds > 0]] = False
        is_new[0] = False
        numbers = np.where(is_new, np.cumsum(is_new) + seeds.max(), 0)
        seeds = np.where(seeds > 0, seeds, numbers[parts])
    neighbours = np.ascontiguousarray(affinities, np.float32)
    return watershed_from_affinities(neighbours, _NEIGHBOURS, seeds.astype(np.uint32))


def drop_small(ids: np.ndarray, min_size: int) -> np.ndarray:
    """Ids without objects of fewer than ``min_size`` pixels, which become 0."""
    size = np.bincount(ids.ravel())
    kept = np.where(size < min_size, 0, np.arange(len(size))).astype(ids.dtype)
    without: np.ndarray = kept[ids]
    return without
