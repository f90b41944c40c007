from __future__ import annotations

import numpy as np
import pytest
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


@pytest.mark.parametrize(
    ("voxel_size", "nearest"), [(None, 7), ((40.0, 8.0, 8.0), 8), ((8.0, 8.0, 8.0), 7)]
)
def test_what_is_nearest_depends_on_the_voxel_size(
    voxel_size: tuple[float, float, float] | None, nearest: int
) -> None:
    # object 7 is one slice above the voxel in the corner, object 8 three voxels beside it
    labels = np.zeros((2, 1, 4), int)
    labels[1, 0, 0], labels[0, 0, 3] = 7, 8
    assert grow_labels(labels, voxel_size=voxel_size)[0, 0, 0] == nearest


@given(images, st.sampled_from([(30.0, 8.0, 8.0), (1.0, 2.0, 3.0)]))
def test_every_voxel_gets_a_nearest_object_in_nm(
    labels: np.ndarray, voxel_size: tuple[float, float, float]
) -> None:
    sides = np.array(voxel_size[-labels.ndim :])
    grown = grow_labels(labels, voxel_size=tuple(sides))
    inside = np.argwhere(labels)
    for place in np.ndindex(labels.shape) if len(inside) else ():
        distance = (((inside - place) * sides) ** 2).sum(axis=1)
        close = inside[distance <= distance.min() * (1 + 1e-9)]
        assert int(grown[place]) in {int(labels[tuple(each)]) for each in close}


@pytest.mark.parametrize("shape", [(40, 256), (6, 20, 512)])
def test_wide_images_grow_as_their_transposes_do(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    labels = np.where(rng.random(shape) < 0.01, rng.integers(1, 2**40, shape), 0)
    sides = np.array([1.0, 1.01, 1.0303])[-len(shape) :]
    turned = grow_labels(labels.T, voxel_size=sides[::-1]).T
    alike = grow_labels(labels, voxel_size=sides) == turned
    assert alike.mean() > 0.99  # the others are as near to two objects
    assert grow_labels(labels, voxel_size=sides).shape == shape
