"""The mean over slices with an interval that knows that neighbouring slices are alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def block_bootstrap_interval(
    values: Sequence[float],
    slices: Sequence[int],
    *,
    block: int = 4,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Mean and percentile interval from resampled blocks of neighbouring slices.

    Slices are cut into blocks of ``block`` consecutive z; blocks, not slices, are drawn with
    replacement. With fewer than two blocks there is nothing to resample and the interval is NaN.

    Parameters
    ----------
    values
        One score a slice; NaN is left out.
    slices
        z of each value.
    block
        Slices of a block.
    resamples
        Number of bootstrap samples.
    confidence
        Coverage of the interval.
    seed
        Of the resampling.

    Returns
    -------
    mean, low, high : float

    References
    ----------
    .. [1] Künsch, The jackknife and the bootstrap for general stationary observations, Ann.
           Statist. 17(3), 1989.
    """
    score = np.asarray(values, dtype=np.float64)
    known = ~np.isnan(score)
    if not known.any():
        return float("nan"), float("nan"), float("nan")
    mean = float(score[known].mean())
    means = _resampled_means(score[known], np.asarray(slices)[known], block, resamples, seed)
    if means is None:
        return mean, float("nan"), float("nan")
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, (tail, 1 - tail))
    return mean, float(low), float(high)


def _resampled_means(
    score: NDArray[np.float64], z: NDArray[np.int64], block: int, resamples: int, seed: int
) -> NDArray[np.float64] | None:
    """Means of drawn blocks, (resamples,); None where there are fewer than two blocks."""
    _, member = np.unique((z - z.min()) // block, return_inverse=True)
    size = np.bincount(member)
    if size.size < 2:
        return None
    total = np.bincount(member, score)
    drawn = np.random.default_rng(seed).integers(size.size, size=(resamples, size.size))
    means: NDArray[np.float64] = total[drawn].sum(axis=1) / size[drawn].sum(axis=1)
    return means
