from __future__ import annotations

import math

import numpy as np
import pytest

from emsam.metrics.block_bootstrap import block_bootstrap_interval
from emsam.params import GateParams
from emsam.registry.gate_statistics import neighbour_correlation, paired_interval

GATE = GateParams(resamples=1000)


def series(rng: np.random.Generator, length: int, correlation: float) -> np.ndarray:
    """AR(1) of unit variance."""
    values = rng.normal(size=length)
    for i in range(1, length):
        values[i] = correlation * values[i - 1] + math.sqrt(1 - correlation**2) * values[i]
    return values


@pytest.mark.parametrize(
    ("slices", "volumes", "correlation"), [(20, 1, 0.9), (40, 1, 0.7), (20, 2, 0.7), (20, 4, 0.5)]
)
def test_seldom_promotes_what_is_no_better_where_single_slices_would(
    slices: int, volumes: int, correlation: float
) -> None:
    rng, count = np.random.default_rng(1), 300
    sets = [[series(rng, slices, correlation) for _ in range(volumes)] for _ in range(count)]
    ours = sum(paired_interval(each, GATE).low > 0 for each in sets)
    naive = sum(
        block_bootstrap_interval(flat, range(flat.size), block=1, resamples=500)[1] > 0
        for flat in map(np.concatenate, sets)
    )
    assert ours <= 0.05 * count
    assert naive > 0.1 * count
    assert naive > 2.5 * ours


@pytest.mark.parametrize(("slices", "volumes"), [(40, 1), (20, 3)])
def test_finds_a_difference_of_twice_the_noise(slices: int, volumes: int) -> None:
    rng, count = np.random.default_rng(2), 100
    sets = [[series(rng, slices, 0.6) + 2 for _ in range(volumes)] for _ in range(count)]
    assert sum(paired_interval(each, GATE).low > 0 for each in sets) >= 0.8 * count


def test_a_volume_that_disagrees_widens_the_interval() -> None:
    rng = np.random.default_rng(3)
    noise = [series(rng, 40, 0.5) for _ in range(2)]
    alike = paired_interval([noise[0] + 1, noise[1] + 1], GATE)
    apart = paired_interval([noise[0] + 3, noise[1] - 1], GATE)
    assert apart.mean == pytest.approx(alike.mean)
    assert apart.high - apart.low > 1.5 * (alike.high - alike.low)


def test_swapping_the_models_mirrors_the_interval() -> None:
    values = series(np.random.default_rng(4), 40, 0.5) + 0.3
    found, swapped = paired_interval([values], GATE), paired_interval([-values], GATE)
    assert (swapped.mean, swapped.low, swapped.high) == pytest.approx(
        (-found.mean, -found.high, -found.low)
    )
    assert paired_interval([values], GATE) == found


def test_nan_is_left_out_and_nothing_known_is_nothing() -> None:
    values = [0.1, 0.2, 0.15, 0.3] * 5
    with_gaps = [*values[:7], math.nan, *values[7:], math.nan]
    assert paired_interval([with_gaps, [math.nan]], GATE) == paired_interval([values], GATE)
    empty = paired_interval([[math.nan], []], GATE)
    assert math.isnan(empty.mean)
    assert (empty.slices, empty.blocks) == (0, 0)


def test_one_block_has_a_mean_but_no_interval() -> None:
    found = paired_interval([[0.1, 0.2, 0.3]], GATE)
    assert found.mean == pytest.approx(0.2)
    assert math.isnan(found.low)
    assert found.blocks == 1


def test_the_same_improvement_everywhere_is_sure() -> None:
    found = paired_interval([[0.25] * 20], GATE)
    assert (found.low, found.high) == pytest.approx((0.25, 0.25))


def test_volumes_of_one_block_are_the_sample() -> None:
    rng = np.random.default_rng(5)
    found = paired_interval([[value] for value in rng.normal(1, 0.1, 8)], GATE)
    assert found.blocks == 8
    assert found.degrees == 7
    assert 0.8 < found.low < found.mean < found.high < 1.2


def test_correlation_of_short_series_is_corrected_and_never_believed_to_be_small() -> None:
    rng = np.random.default_rng(6)
    assert neighbour_correlation([rng.normal(size=200)]) == 0.6
    found = [neighbour_correlation([series(rng, 40, 0.9)]) for _ in range(200)]
    assert np.mean(found) == pytest.approx(0.87, abs=0.03)  # uncorrected 0.80
