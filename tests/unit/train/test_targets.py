from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import distance_transform_edt

from emsam.data.patches import UNLABELLED
from emsam.params import Params
from emsam.train.targets import make_targets

OFFSETS = ((0, 1), (1, 0), (0, 3), (2, -2), (-1, 0), (0, 7))
NEIGHBOURS = ((0, 1), (1, 0), (0, -1), (-1, 0))
ids_of_two_images = arrays(np.int32, (2, 5, 7), elements=st.integers(-1, 3))


def with_channels(*channels: str, offsets: object = OFFSETS, scale: float = 6.0) -> Params:
    targets = {"channels": channels, "offsets": offsets, "distance_scale": scale}
    return Params.model_validate({"targets": targets})


def affinity_targets(*, offsets: object = OFFSETS) -> Params:
    return with_channels("foreground", "affinities", offsets=offsets)


def channel(name: str, ids: np.ndarray, scale: float = 6.0) -> tuple[np.ndarray, np.ndarray]:
    """Target and known of one channel behind foreground and affinities; ``ids`` is (y, x)."""
    params = with_channels("foreground", "affinities", name, scale=scale)
    target, known = make_targets(torch.from_numpy(ids[None]), params)
    return target[0, -1].numpy(), known[0, -1].numpy()


def neighbours(ids: np.ndarray, y: int, x: int) -> list[int]:
    around = [(y + dy, x + dx) for dy, dx in NEIGHBOURS]
    height, width = ids.shape
    return [ids[at] for at in around if 0 <= at[0] < height and 0 <= at[1] < width]


def targets_by_loop(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Foreground, affinities and boundary, pixel by pixel; ``ids`` of shape (y, x)."""
    height, width = ids.shape
    target = np.zeros((2 + len(OFFSETS), height, width), np.float32)
    known = np.ones(target.shape, bool)
    for y, x in np.ndindex(ids.shape):
        here = ids[y, x]
        known[:, y, x] = here != UNLABELLED
        others = [other for other in neighbours(ids, y, x) if other not in (UNLABELLED, here)]
        target[0, y, x] = here > 0 and not any(other > 0 for other in others)
        target[-1, y, x] = bool(others)
        for number, (dy, dx) in enumerate(OFFSETS, start=1):
            there = (y + dy, x + dx)
            exists = 0 <= there[0] < height and 0 <= there[1] < width
            known[number, y, x] &= exists and ids[there] != UNLABELLED
            target[number, y, x] = exists and here > 0 and here == ids[there]
    return target, known


@given(ids_of_two_images)
def test_foreground_affinities_and_boundary_equal_the_loop_over_pixels(ids: np.ndarray) -> None:
    params = with_channels("foreground", "affinities", "boundary")
    target, known = make_targets(torch.from_numpy(ids), params)
    assert target.shape == known.shape == (2, len(params.maps), 5, 7)
    assert (target.dtype, known.dtype) == (torch.float32, torch.bool)
    for n in range(2):
        expected, exists = targets_by_loop(ids[n])
        np.testing.assert_array_equal(known[n].numpy(), exists)
        np.testing.assert_array_equal(target[n].numpy()[exists], expected[exists])


def test_by_hand() -> None:
    # 1 1 2 0: the second and third pixel touch another object and are no foreground;
    # only the first and second belong together
    params = affinity_targets(offsets=[(0, 1), (1, 0)])
    target, known = make_targets(torch.tensor([[[1, 1, 2, 0]]]), params)
    assert target[0, :, 0].tolist() == [[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert known[0, :, 0].tolist() == [[True] * 4, [True, True, True, False], [False] * 4]


def test_background_has_no_affinity_with_background() -> None:
    target, _ = make_targets(torch.zeros((1, 4, 4), dtype=torch.int32), affinity_targets())
    assert not target.any()


@pytest.mark.parametrize("side", [3, 8, 40])
def test_default_offsets_on_patches_smaller_than_the_longest(side: int) -> None:
    target, known = make_targets(torch.ones((1, side, side), dtype=torch.int32), Params())
    assert bool(((target == 1) == known).all())  # one object: together wherever a partner exists


# -- signed distance --------------------------------------------------------------------------


@settings(deadline=None)
@given(arrays(bool, (12, 40)), st.sampled_from([1.0, 2.5, 6.0]))
def test_the_distance_equals_the_transform_of_scipy(inside: np.ndarray, scale: float) -> None:
    target, known = channel("distance", inside.astype(np.int32), scale)
    assert known.all()
    if inside.all() or not inside.any():  # no boundary: as far as can be told
        np.testing.assert_allclose(target, inside, atol=0.01)
        return
    deep, out = distance_transform_edt(inside), distance_transform_edt(~inside)
    signed = np.where(inside, deep - 0.5, 0.5 - out)
    np.testing.assert_allclose(target, (1 + np.tanh(signed / scale)) / 2, atol=0.004)


def test_the_distance_keeps_touching_objects_apart() -> None:
    ids = np.repeat([[1] * 8 + [2] * 8], 9, axis=0).astype(np.int32)
    target, _ = channel("distance", ids)
    assert (target[:, 7:9] < 0.5).all()
    assert (target[:, 6] > 0.5).all()
    assert (np.diff(target[4, :8]) < 0).all()


def test_the_distance_is_unknown_where_the_unlabelled_is_nearer_than_the_boundary() -> None:
    ids = np.array([[0, 1, 1, 1, 1, 1, -1, -1]], np.int32)
    _, known = channel("distance", ids)
    # the third object pixel is as far from the background as from the unlabelled
    assert known[0].tolist() == [True, True, True, True, False, False, False, False]


# -- centre ------------------------------------------------------------------------------------


def test_the_centre_of_each_object_is_its_centre_of_mass() -> None:
    ids = np.zeros((2, 9, 20), np.int32)
    ids[:, 2:7, 1:6] = 1  # centre 4, 3
    ids[0, 0:3, 10:19] = 7  # centre 1, 14; not in the second image
    params = with_channels("foreground", "affinities", "centre")
    target, known = make_targets(torch.from_numpy(ids), params)
    centre = target[:, -1].numpy()
    assert known[:, -1].all()
    assert (centre[ids == 0] == 0).all()
    assert [tuple(at) for at in np.argwhere(centre == 1)] == [(0, 1, 14), (0, 4, 3), (1, 4, 3)]
    assert centre[0, 2, 1] == pytest.approx(0, abs=1e-6)  # a corner is farthest
    assert centre[0, 4, 4] == pytest.approx(1 - 1 / np.sqrt(8))
    np.testing.assert_array_equal(centre[0, :, :8], centre[1, :, :8])


def test_an_object_of_one_pixel_is_its_own_centre() -> None:
    ids = np.zeros((3, 3), np.int32)
    ids[1, 1] = 5
    assert channel("centre", ids)[0][1, 1] == 1


def test_unlabelled_pixels_are_unknown_in_every_map() -> None:
    ids = np.random.default_rng(0).integers(-1, 3, (1, 20, 20)).astype(np.int32)
    params = with_channels("foreground", "affinities", "boundary", "distance", "centre")
    target, known = make_targets(torch.from_numpy(ids), params)
    assert not known[0, :, torch.from_numpy(ids[0] == UNLABELLED)].any()
    assert target.min() >= 0
    assert target.max() <= 1
