"""A small fingerprint of a slice, by which copies are found among thousands of slices.

It is the means of 32 × 32 blocks, without their mean and of length 1, of the coarsest level of a
slice's pyramid, which is all that is needed of any volume. The product of two fingerprints is the
correlation of what is seen of two slices from afar: smoothing, noise, other brightness, contrast or
resolution do not change it; another section does. Comparing all slices with all others is one
matrix product.
"""

from __future__ import annotations

import numpy as np

BLOCKS = 32
"""Blocks along y and along x (a shorter side has a block for each pixel)."""
SAME = 0.999
"""Correlation from which two slices may be one section.

The two sections of ``epfl6_hippocampus`` that were annotated twice, one copy smoothed: 0.99999.
The most similar neighbours of five real sets: 0.996 (CA1, 5 nm isotropic).
"""
SAME_AGAINST_NEIGHBOURS = 0.1
"""And 1 - correlation is at most this part of what it is between neighbours, in the median.

In a wide field of thin sections neighbours correlate above ``SAME`` too. The closest neighbours
of the five sets: 0.45 (``fib25_medulla``); the two sections annotated twice: 0.002.
"""


def fingerprint(image: np.ndarray) -> np.ndarray:
    """Block means of ``image`` (y, x), without their mean and of length 1: (≤ 32, ≤ 32) float32.

    All 0 for a constant image.
    """
    rows, columns = (_block_starts(side) for side in image.shape)
    sums = np.add.reduceat(np.add.reduceat(image, rows, dtype=np.float64), columns, axis=1)
    height = np.diff(rows, append=image.shape[0])
    width = np.diff(columns, append=image.shape[1])
    means = sums / np.outer(height, width)
    highest = np.abs(means).max()
    means -= means.mean()
    length = np.linalg.norm(means)
    constant = length <= 1e-6 * highest  # what is left of a constant image is rounding
    return (means * 0 if constant else means / length).astype(np.float32)


def correlations(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Of each of (m, y, x) fingerprints with each of (n, y, x): (m, n); 0 if sizes differ."""
    if one.shape[1:] != other.shape[1:]:
        return np.zeros((len(one), len(other)), np.float32)
    return one.reshape(len(one), -1) @ other.reshape(len(other), -1).T


def neighbour_correlations(prints: np.ndarray) -> np.ndarray:
    """Of each slice with the one before, (n,); NaN for the first and beside a constant slice."""
    together = np.full(len(prints), np.nan)
    together[1:] = np.einsum("zyx,zyx->z", prints[1:], prints[:-1])
    constant = np.logical_not(prints.any(axis=(1, 2)))
    together[constant] = np.nan
    together[1:][constant[:-1]] = np.nan
    return together


def same_from(*volumes: np.ndarray) -> float:
    """Correlation from which slices of these volumes (n, y, x) count as one section."""
    distances = [SAME_AGAINST_NEIGHBOURS * _median_distance(prints) for prints in volumes]
    return 1 - min(1 - SAME, *distances)


def orientations(prints: np.ndarray) -> list[np.ndarray]:
    """(n, y, x) fingerprints as of slices mirrored and turned: eight, the first as they are."""
    turned = [np.rot90(prints, k, axes=(1, 2)) for k in range(4)]
    return [*turned, *(each[:, :, ::-1] for each in turned)]


def _median_distance(prints: np.ndarray) -> float:
    together = neighbour_correlations(prints)
    together = together[np.isfinite(together)]
    return float(1 - np.median(together)) if together.size else np.inf


def _block_starts(side: int) -> np.ndarray:
    return np.linspace(0, side, min(BLOCKS, side), endpoint=False).astype(int)
