from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emsam.metrics.block_bootstrap import block_bootstrap_interval
from emsam.metrics.paired_block_bootstrap import paired_block_bootstrap_interval


def test_difference_by_hand() -> None:
    # differences 0.1, 0.3 in blocks of their own: a mean is 0.1, 0.2 or 0.3
    first, second = {0: 0.5, 4: 0.8}, {0: 0.4, 4: 0.5}
    assert paired_block_bootstrap_interval(first, second) == pytest.approx((0.2, 0.1, 0.3))


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=30))
def test_is_the_difference_of_means_and_changes_sign_when_swapped(
    values: list[tuple[float, float]],
) -> None:
    first, second = ({z: pair[i] for z, pair in enumerate(values)} for i in (0, 1))
    mean, low, high = paired_block_bootstrap_interval(first, second, resamples=400)
    assert mean == pytest.approx(np.mean([a - b for a, b in values]))
    swapped = paired_block_bootstrap_interval(second, first, resamples=400)
    assert (swapped[0], swapped[2], swapped[1]) == pytest.approx((-mean, -low, -high), nan_ok=True)


def test_what_two_models_share_cancels() -> None:
    # hard and easy slices differ by 0.3, the models by 0.02 on every one of them
    hard = np.random.default_rng(0).random(40) * 0.3
    first, second = dict(enumerate(hard + 0.02)), dict(enumerate(hard))
    assert paired_block_bootstrap_interval(first, second) == pytest.approx((0.02, 0.02, 0.02))
    _, low, high = block_bootstrap_interval(list(first.values()), range(40))
    assert high - low > 0.04


def test_covers_the_true_difference_about_as_often_as_it_says() -> None:
    rng, inside = np.random.default_rng(3), 0
    for seed in range(200):
        shared = rng.normal(0, 1, 60)
        first, second = (dict(enumerate(shared + rng.normal(m, 0.2, 60))) for m in (0.1, 0))
        _, low, high = paired_block_bootstrap_interval(first, second, resamples=300, seed=seed)
        inside += low <= 0.1 <= high
    assert 0.85 < inside / 200 < 0.99


def test_a_slice_without_a_score_in_either_model_is_left_out() -> None:
    first = {0: 0.5, 1: math.nan, 4: 0.8, 5: 0.9}
    second = {0: 0.4, 1: 0.1, 4: 0.5, 5: math.nan}
    assert paired_block_bootstrap_interval(first, second) == pytest.approx((0.2, 0.1, 0.3))
    nothing = paired_block_bootstrap_interval({0: math.nan, 9: 0.2}, {0: 0.1, 9: math.nan})
    assert all(map(math.isnan, nothing))


def test_the_order_of_the_slices_does_not_matter() -> None:
    first, second = {9: 0.1, 0: 0.7, 4: 0.4}, {4: 0.3, 0: 0.1, 9: 0.2}
    expected = paired_block_bootstrap_interval(
        dict(sorted(first.items())), dict(sorted(second.items()))
    )
    assert paired_block_bootstrap_interval(first, second) == expected


def test_one_block_has_a_difference_but_no_interval() -> None:
    mean, low, high = paired_block_bootstrap_interval({5: 0.4, 6: 0.4}, {5: 0.1, 6: 0.2})
    assert mean == pytest.approx(0.25)
    assert math.isnan(low)
    assert math.isnan(high)


def test_other_slices_are_refused_and_named() -> None:
    with pytest.raises(ValueError, match=r"of slice 2, 7$"):
        paired_block_bootstrap_interval({1: 0.1, 2: 0.2}, {1: 0.1, 7: 0.2})
    with pytest.raises(ValueError, match="…"):
        paired_block_bootstrap_interval({}, dict.fromkeys(range(50), 0.1))
