"""Half the resolution of a slice: the levels of a pyramid."""

from __future__ import annotations

import numpy as np

_WIDER: dict[str, type[np.unsignedinteger]] = {"uint8": np.uint16, "uint16": np.uint32}
"""Type that holds a pair of grey values, and the sum of four."""


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

    Where the sum of four is 4q + r, the mean is q + (r + 1 + q mod 2) // 4.
    """
    bits = 8 * plane.dtype.itemsize
    pairs = plane.view(wider)
    sums = (pairs & wider((1 << bits) - 1)) + (pairs >> wider(bits))
    total = sums[::2] + sums[1::2]
    total += ((total >> wider(2)) & wider(1)) + wider(1)
    total >>= wider(2)
    return total.astype(plane.dtype)


def halve_labels(plane: np.ndarray) -> np.ndarray:
    """Every second id in y and x: ids are picked, never mixed."""
    return plane[::2, ::2]
