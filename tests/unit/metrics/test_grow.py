from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from emsam.metrics.grow import grow_labels

images = array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=5).flatmap(
    lambda shape: arrays(np.int64, shape, elements=st.sampled_from([0, 0, 0, 1, 2, 9]))
)


@given(images)
def test_every_pixel_gets_a_nearest_object(labels: np.ndarray) -> None:
    grown = grow_labels(labels)
    inside = np.argwhere(labels)
    if not len(inside):
        assert (grown == 0).all()
        return
    for place in np.ndindex(labels.shape):
        distance = ((inside - place) ** 2).sum(axis=1)
        nearest = {int(labels[tuple(each)]) for each in inside[distance == distance.min()]}
        assert int(grown[place]) in nearest


def test_by_hand_and_the_input_is_left_alone() -> None:
    labels = np.array([[0, 3, 0, 0, 0, 8]], np.uint64)
    before = labels.copy()
    assert grow_labels(labels).tolist() in ([[3, 3, 3, 3, 8, 8]], [[3, 3, 3, 8, 8, 8]])
    assert grow_labels(labels).dtype == np.uint64
    assert (labels == before).all()
