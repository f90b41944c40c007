from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emsam.metrics.block_bootstrap import block_bootstrap_interval

scores = st.lists(st.floats(0, 1), min_size=1, max_size=30)


@given(scores)
def test_mean_is_the_mean_and_lies_in_the_interval(values: list[float]) -> None:
    mean, low, high = block_bootstrap_interval(values, range(len(values)), resamples=500)
    assert mean == pytest.approx(np.mean(values))
    if not math.isnan(low):
        assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9


@given(scores, st.integers(0, 10_000))
def test_where_the_slices_begin_does_not_matter(values: list[float], start: int) -> None:
    a = block_bootstrap_interval(values, range(len(values)), resamples=200)
    b = block_bootstrap_interval(values, range(start, start + len(values)), resamples=200)
    assert a == pytest.approx(b, nan_ok=True)


def test_nan_is_left_out() -> None:
    known = block_bootstrap_interval([0.1, 0.3, 0.5], [0, 4, 8], resamples=200)
    mixed = block_bootstrap_interval(
        [0.1, math.nan, 0.3, 0.5, math.nan], [0, 1, 4, 8, 9], resamples=200
    )
    assert mixed == known
    assert mixed[0] == pytest.approx(0.3)


def test_nothing_known_has_no_mean() -> None:
    assert all(map(math.isnan, block_bootstrap_interval([], [])))
    assert all(map(math.isnan, block_bootstrap_interval([math.nan], [3])))


def test_one_block_has_a_mean_but_no_interval() -> None:
    mean, low, high = block_bootstrap_interval([0.2, 0.4], [5, 6], block=4)
    assert mean == pytest.approx(0.3)
    assert math.isnan(low)
    assert math.isnan(high)


def test_equal_values_have_an_interval_of_no_width() -> None:
    assert block_bootstrap_interval([0.25] * 12, range(12)) == pytest.approx((0.25, 0.25, 0.25))


def test_blocks_make_the_interval_of_alike_neighbours_wider() -> None:
    # eight blocks of five equal slices: 40 slices, but only eight independent ones; the
    # interval of blocks is about √5 as wide
    values = np.repeat(np.random.default_rng(0).random(8), 5)
    _, low1, high1 = block_bootstrap_interval(values, range(40), block=1)
    _, low5, high5 = block_bootstrap_interval(values, range(40), block=5)
    assert 1.7 < (high5 - low5) / (high1 - low1) < 2.8


def test_block_of_one_is_the_usual_standard_error() -> None:
    values = np.random.default_rng(1).normal(0.5, 0.1, 100)
    _, low, high = block_bootstrap_interval(values, range(100), block=1)
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 10, rel=0.05)


def test_more_confidence_is_a_wider_interval_and_the_seed_decides() -> None:
    values = np.random.default_rng(2).random(24)
    _, low90, high90 = block_bootstrap_interval(values, range(24), confidence=0.90)
    _, low99, high99 = block_bootstrap_interval(values, range(24), confidence=0.99)
    assert low99 < low90 < high90 < high99
    again = block_bootstrap_interval(values, range(24), seed=4)
    assert again == block_bootstrap_interval(values, range(24), seed=4)
    assert again != block_bootstrap_interval(values, range(24), seed=5)
