"""The interval that decides: how much better a candidate is, and how sure that is.

Neighbouring slices are alike, test sets are short and volumes few, so three things would make a
plain percentile bootstrap promote candidates that are no better: slices that are no independent
witnesses, blocks that are still correlated with the next one, and the few blocks themselves.
Each has its remedy here; docs/gate.md shows what they are worth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from emsam.params import GateParams

Array = NDArray[np.float64]
_LEAST_CORRELATED, _MOST_CORRELATED = 0.6, 0.99
"""An estimate below from some twenty slices is mostly luck: it costs little not to believe it."""


@dataclass(frozen=True)
class PairedInterval:
    """Mean improvement over slices with its interval.

    Attributes
    ----------
    mean, low, high
        In the unit of the metric, above 0 where the candidate is better; NaN where not known.
    slices, blocks
        What was resampled.
    correlation
        Of the improvements of neighbouring slices, estimated and at least 0.6.
    degrees
        Degrees of freedom of the interval's width.
    """

    mean: float
    low: float
    high: float
    slices: int
    blocks: int
    correlation: float
    degrees: float


@dataclass(frozen=True)
class _Blocks:
    """One volume: its block sums, their sizes, and what a correlation does to both.

    Attributes
    ----------
    sums, sizes
        (blocks,) float64.
    """

    sums: Array
    sizes: Array

    @property
    def mean(self) -> float:
        return float(self.sums.sum() / self.sizes.sum())


def paired_interval(improvements: Sequence[Sequence[float]], gate: GateParams) -> PairedInterval:
    """Mean of improvements with an interval from resampled volumes and z-blocks.

    Volumes are drawn with replacement, and in each of them its blocks of neighbouring slices
    [1]_ [2]_. The deviations of the resampled means are widened so that

    - what is left of the correlation between blocks counts: the variance of the mean over that
      of the resampled means is computed for an AR(1) process whose correlation is estimated from
      neighbouring slices and corrected for its bias in short series [3]_;
    - few blocks are no certainty: quantiles are those of Student's t in place of the normal
      distribution [4]_, with the degrees of freedom of the blocks' variance [5]_ [6]_.

    Parameters
    ----------
    improvements
        For each volume one number a slice, in order of z, above 0 where the candidate is
        better; what is not finite is left out.
    gate
        ``block``, ``resamples``, ``confidence`` and ``seed`` are used.

    References
    ----------
    .. [1] Künsch, The jackknife and the bootstrap for general stationary observations, Ann.
           Statist. 17(3), 1989.
    .. [2] Davison & Hinkley, Bootstrap Methods and their Application, 1997, sections 3.8, 8.2.
    .. [3] Marriott & Pope, Bias in the estimation of autocorrelations, Biometrika 41, 1954.
    .. [4] Hesterberg, What teachers should know about the bootstrap, Am. Stat. 69(4), 2015
           (expanded percentile interval).
    .. [5] Satterthwaite, An approximate distribution of estimates of variance components,
           Biometrics 2(6), 1946; for clusters Bell & McCaffrey, Surv. Methodol. 28(2), 2002.
    .. [6] Cameron, Gelbach & Miller, Bootstrap-based improvements for inference with clustered
           errors, Rev. Econ. Stat. 90(3), 2008 (why few clusters need more than a bootstrap).
    """
    known = [_known(each) for each in improvements]
    known = [each for each in known if each.size]
    if not known:
        return PairedInterval(math.nan, math.nan, math.nan, 0, 0, math.nan, 0.0)
    slices = sum(each.size for each in known)
    mean = float(np.concatenate(known).mean())
    correlation = neighbour_correlation(known)
    volumes = [_cut(each, gate.block) for each in known]
    blocks = sum(each.sums.size for each in volumes)
    if blocks < 2:
        return PairedInterval(mean, math.nan, math.nan, slices, blocks, correlation, 0.0)
    inner, outer, degrees = _widening(volumes, correlation)
    drawn = _resample([_widen(each, inner) for each in volumes], gate.resamples, gate.seed)
    tail = (1 - gate.confidence) / 2
    few = stats.t.ppf(tail, degrees) / stats.norm.ppf(tail)
    low, high = mean + outer * few * np.quantile(drawn - mean, (tail, 1 - tail))
    return PairedInterval(mean, float(low), float(high), slices, blocks, correlation, degrees)


def neighbour_correlation(series: Sequence[Array]) -> float:
    """Correlation of neighbours in short series, each around its own mean; 0.6 to 0.99."""
    centred = [each - each.mean() for each in series]
    power = sum(float((each**2).sum()) for each in centred)
    length = sum(each.size for each in series) / len(series)
    if power <= 1e-24 or length <= 4:
        return _LEAST_CORRELATED
    estimate = sum(float((each[1:] * each[:-1]).sum()) for each in centred) / power
    corrected = (estimate + 1 / length) / (1 - 3 / length)  # E[estimate] ≈ r - (1 + 3r)/n
    return float(np.clip(corrected, _LEAST_CORRELATED, _MOST_CORRELATED))


def _known(values: Sequence[float]) -> Array:
    array = np.asarray(values, dtype=np.float64)
    return array[np.isfinite(array)]


def _cut(values: Array, block: int) -> _Blocks:
    """Blocks of at least ``block`` neighbours (fewer where there are no more), nearly equal."""
    parts = np.array_split(values, max(1, values.size // block))
    sums, sizes = ([float(f(part)) for part in parts] for f in (np.sum, np.size))
    return _Blocks(np.asarray(sums), np.asarray(sizes))


def _widen(volume: _Blocks, factor: float) -> _Blocks:
    """Block means ``factor`` times as far from the volume's mean."""
    middle = volume.mean * volume.sizes
    return _Blocks(middle + factor * (volume.sums - middle), volume.sizes)


def _widening(volumes: Sequence[_Blocks], correlation: float) -> tuple[float, float, float]:
    """How much wider blocks in their volumes, and the whole, must scatter; degrees of freedom."""
    true = found = squared = 0.0
    for each in volumes:
        alike, scatter = _second_moments(each.sizes, correlation)
        true += alike
        found += float(np.trace(scatter))
        squared += float((scatter**2).sum())
    if found <= 0:  # a block a volume: volumes alone are resampled
        count = len(volumes)
        return 1.0, math.sqrt(count / (count - 1)), count - 1.0
    return math.sqrt(true / found), 1.0, found**2 / squared


def _second_moments(sizes: Array, correlation: float) -> tuple[float, Array]:
    """Variance of the sum of an AR(1) series of unit variance; covariance of its block sums.

    The block sums, (blocks, blocks), are those of the series around its own mean.
    """
    length = int(sizes.sum())
    place = np.arange(length)
    alike = correlation ** np.abs(place[:, None] - place[None])
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(int)
    rows = alike.sum(axis=1)
    total = float(rows.sum())
    between = np.add.reduceat(np.add.reduceat(alike, starts, axis=0), starts, axis=1)
    with_mean = np.outer(np.add.reduceat(rows, starts), sizes) / length
    spread = np.outer(sizes, sizes) * total / length**2
    return total, between - with_mean - with_mean.T + spread


def _resample(volumes: Sequence[_Blocks], resamples: int, seed: int) -> Array:
    """Means over the slices of drawn blocks of drawn volumes, (resamples,)."""
    rng = np.random.default_rng(seed)
    total, size = np.zeros(resamples), np.zeros(resamples)
    for _ in volumes:
        which = rng.integers(len(volumes), size=resamples)
        for index, volume in enumerate(volumes):
            rows = np.flatnonzero(which == index)
            count = volume.sums.size
            drawn = rng.integers(count, size=(rows.size, count))
            total[rows] += volume.sums[drawn].sum(axis=1)
            size[rows] += volume.sizes[drawn].sum(axis=1)
    means: Array = total / size
    return means
