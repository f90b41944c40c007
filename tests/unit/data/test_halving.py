from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from emsam.data.halving import halve_image


@given(
    st.sampled_from(["u1", "u2"]).flatmap(
        lambda dtype: npst.arrays(dtype, npst.array_shapes(min_dims=2, max_dims=2, max_side=9))
    )
)
def test_integers_are_the_rounded_mean_of_two_by_two(plane: np.ndarray) -> None:
    padded = np.pad(plane, [(0, side % 2) for side in plane.shape], mode="edge").astype(float)
    mean = (padded[::2, ::2] + padded[::2, 1::2] + padded[1::2, ::2] + padded[1::2, 1::2]) / 4
    half = halve_image(plane)
    assert half.dtype == plane.dtype
    np.testing.assert_array_equal(half, np.rint(mean))


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_floats_are_the_mean_of_two_by_two(dtype: str) -> None:
    plane = np.arange(20, dtype=dtype).reshape(4, 5) / 8
    half = halve_image(plane)
    assert half.dtype == plane.dtype
    np.testing.assert_array_equal(half[0], np.array([3.0, 5.0, 6.5]) / 8)
