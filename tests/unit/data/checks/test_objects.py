from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from skimage.measure import label

from emsam.data.checks.objects import (
    BLANK_AREA,
    BLANK_RANGE,
    constant_objects,
    measure_objects,
    same_id_share,
)

SLICES = arrays(
    st.sampled_from([np.uint8, np.uint64, np.int32]),
    array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12),
    elements=st.integers(0, 4),
)


@given(SLICES)
def test_parts_are_those_of_scikit_image(labels: np.ndarray) -> None:
    objects = measure_objects(labels)
    expected = np.unique(labels[labels > 0])
    np.testing.assert_array_equal(objects.ids, expected)
    for i, number in enumerate(expected):
        parts = np.bincount(label(labels == number, connectivity=2).ravel())[1:]
        assert objects.areas[i] == (labels == number).sum()
        assert objects.parts[i] == len(parts)
        assert objects.largest[i] == parts.max()


@given(SLICES, st.integers(0, 2**32 - 1), st.sampled_from([1, 3, 40]))
def test_constant_objects_are_those_with_a_narrow_range(
    labels: np.ndarray, seed: int, grain: int
) -> None:
    labels = np.kron(labels, np.ones((5, 5), labels.dtype))
    rng = np.random.default_rng(seed)
    image = rng.integers(0, grain + 1, labels.shape).astype(np.uint8)
    image[0, 0] = 100
    image[labels == 2] = 77
    allowed = BLANK_RANGE * (int(image.max()) - int(image.min()))
    expected = [
        number
        for number in np.unique(labels[labels > 0])
        if (labels == number).sum() >= BLANK_AREA and np.ptp(image[labels == number]) <= allowed
    ]
    got = constant_objects(labels, image, measure_objects(labels))
    np.testing.assert_array_equal(got, expected)


def test_ids_that_go_on_and_ids_that_do_not() -> None:
    labels = np.repeat(np.arange(1, 9, dtype=np.uint16), 8).reshape(8, 8)
    assert same_id_share(labels, labels) == 1
    assert same_id_share(labels, labels + 1) == 0
    assert same_id_share(labels, labels * 0) == 0
