from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from emsam.segment.distance import split_at_necks


@pytest.fixture
def pair() -> np.ndarray:
    """Two discs that overlap a little, and a small one apart."""
    y, x = np.mgrid[:60, :100]
    ids = np.zeros((60, 100), np.int32)
    ids[(y - 30) ** 2 + (x - 30) ** 2 < 18**2] = 1
    ids[((y - 30) ** 2 + (x - 60) ** 2 < 18**2) & (x >= 45)] = 2
    ids[(y - 10) ** 2 + (x - 90) ** 2 < 4**2] = 3
    return ids


def true_distance(ids: np.ndarray) -> np.ndarray:
    return distance_transform_edt(ids > 0)


def test_discs_that_touch_are_told_apart(pair: np.ndarray) -> None:
    ids = split_at_necks(true_distance(pair), pair > 0, 1.0)
    assert ids.dtype == np.int64
    np.testing.assert_array_equal(ids > 0, pair > 0)
    assert len(np.unique(ids)) == 4
    for value in (1, 2, 3):
        values, count = np.unique(ids[pair == value], return_counts=True)
        assert count.max() > 0.97 * count.sum(), values


def test_a_ripple_splits_nothing_and_a_deep_seed_joins(pair: np.ndarray) -> None:
    noise = np.random.default_rng(0).normal(0, 0.2, pair.shape)
    assert split_at_necks(true_distance(pair) + noise, pair > 0, 2.0).max() == 3
    assert split_at_necks(true_distance(pair), pair > 0, 12.0).max() == 2


def test_an_empty_mask_and_distances_below_zero() -> None:
    empty = np.zeros((10, 12))
    assert not split_at_necks(empty, empty > 0, 1.0).any()
    ids = split_at_necks(empty - 5, empty == 0, 1.0)
    np.testing.assert_array_equal(ids, 1)
