"""Half the resolution of a slice: the levels of a pyramid."""

from __future__ import annotations

import numpy as np

from emsam.data.pyramid import pyramid_levels

_WIDER: dict[str, type[np.unsignedinteger]] = {"uint8": np.uint16, "uint16": np.uint32}
"""Type that holds a pair of grey values, and the sum of four."""
_BAND = 512 << 10
"""Bytes of the rows that are halved together."""


def image_levels(plane: np.ndarray) -> list[np.ndarray]:
    """A slice (y, x) at all levels of its pyramid, the finest first."""
    levels = [plane]
    for _ in range(1, pyramid_levels((1, *plane.shape))):
        levels.append(halve_image(levels[-1]))
    return levels


def halve_image(plane: np.ndarray) -> np.ndarray:
    """Mean of 2 × 2 pixels of a slice (y, x), in its dtype; an odd last row or column is repeated.

    Integers are rounded to the nearest, halves to the even one.
    """
    height, width = plane.shape
    if height % 2 or width % 2:
        plane = np.pad(plane, ((0, height % 2), (0, width % 2)), mode="edge")
    wider = _WIDER.get(plane.dtype.name)
    if wider is not None:
        return _halve_integers(np.ascontiguousarray(plane), wider)
    kind = np.float64 if plane.dtype == np.float64 else np.float32
    blocks = plane.reshape((height + 1) // 2, 2, (width + 1) // 2, 2)
    return blocks.mean(axis=(1, 3), dtype=kind).astype(plane.dtype)


def _halve_integers(plane: np.ndarray, wider: type[np.unsignedinteger]) -> np.ndarray:
    """Neighbours in a row are read as one number of twice the width: many times as fast as a mean.

    A few rows at a time, so that what is made of them stays in the cache.
    """
    pairs = plane.view(wider)
    halved = np.empty((len(pairs) // 2, pairs.shape[1]), plane.dtype)
    rows = max(1, _BAND // pairs[0].nbytes // 2)
    high = np.empty((2 * rows, pairs.shape[1]), wider)
    total, other = np.empty((2, *high[:rows].shape), wider)
    for first in range(0, len(halved), rows):
        part = halved[first : first + rows]
        n = len(part)
        band = pairs[2 * first : 2 * (first + n)]
        part[:] = _mean_of_four(band, high[: 2 * n], total[:n], other[:n])
    return halved


def _mean_of_four(
    pairs: np.ndarray, high: np.ndarray, total: np.ndarray, other: np.ndarray
) -> np.ndarray:
    """Of two pairs, one above the other; the rest is memory to work in, ``total`` is returned.

    A pair is v = a + 2^bits b, so a + b = v - (2^bits - 1) b; what overflows cancels. Where the sum
    of four is 4q + r, the mean is q + (r + 1 + q mod 2) // 4.
    """
    number = pairs.dtype.type
    bits = 4 * pairs.dtype.itemsize
    np.right_shift(pairs, number(bits), out=high)
    np.add(high[::2], high[1::2], out=other)
    np.multiply(other, number((1 << bits) - 1), out=other)
    np.add(pairs[::2], pairs[1::2], out=total)
    np.subtract(total, other, out=total)
    np.right_shift(total, number(2), out=other)
    np.bitwise_and(other, number(1), out=other)
    np.add(other, number(1), out=other)
    np.add(total, other, out=total)
    return np.right_shift(total, number(2), out=total)


def halve_labels(plane: np.ndarray) -> np.ndarray:
    """Every second id in y and x: ids are picked, never mixed."""
    return plane[::2, ::2]
