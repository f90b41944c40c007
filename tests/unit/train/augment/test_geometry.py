from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from windows import SIZE, augment, batch_of, only, patches_of

from emsam.data.patches import PatchSampler
from emsam.data.store import Volume
from emsam.params import AugmentParams
from emsam.train.augment.augmenter import Augmenter
from emsam.train.augment.geometry import MOVES, centred_grid, read_at

STRONG = {"slip": 9, "elastic": 20, "affine": 0.3, "scale": 0.5}
TOGETHER = AugmentParams.model_validate(
    dict.fromkeys(AugmentParams().beyond_flips, 0)
    | {name: {"probability": 1, "strength": value} for name, value in STRONG.items()}
)


def ramps(side: int = 200) -> np.ndarray:
    """Two windows: y and x of each pixel."""
    return np.mgrid[:side, :side].astype(np.float32)


def read_ramps(name: str, step: int, strength: float) -> np.ndarray:
    """y and x at which each pixel is read: (2, y, x), from a window twice as large."""
    params = only(name, strength=strength)
    side = SIZE + 2 * params.margin(SIZE)
    images = ramps(side) / (side - 1)
    both = [augment(params, batch_of(np.stack([each, each])), step)[0][0] for each in images]
    return torch.stack(both).numpy() * (side - 1) - (side - SIZE) / 2


@pytest.mark.parametrize("name", MOVES)
def test_image_and_ids_move_together(name: str) -> None:
    """An image that is made of its own labels stays so, up to the pixels between two objects."""
    smooth = gaussian_filter(np.random.default_rng(2).normal(size=(4, 160, 160)), (0, 9, 9))
    ids = (smooth > 0).astype(np.int32)
    for step in range(5):
        images, moved = augment(only(name, strength=STRONG[name]), batch_of(ids, ids), step)
        assert (images.round() == moved).float().mean() > 0.99
        assert (moved[images > 0.75] == 1).all()  # the nearest of four counts for a quarter or more
        assert (moved[images < 0.25] == 0).all()
        assert (moved.numpy() != patches_of(batch_of(ids, ids))[1]).any()


def test_all_at_once_read_the_image_once_and_ids_at_the_same_place() -> None:
    grid = ramps(160)
    ids = grid[0].astype(np.int32) * 160 + grid[1].astype(np.int32)
    batch = batch_of(np.stack([grid[0], grid[1]]) / 159, np.stack([ids, ids]))
    images, moved = augment(TOGETHER, batch)
    y, x = moved[0] // 160, moved[1] % 160  # each sample has a deformation of its own
    assert (images[0] * 159 - y).abs().max() <= 0.501
    assert (images[1] * 159 - x).abs().max() <= 0.501


def test_scale_reads_an_area_that_is_larger_or_smaller() -> None:
    spans = []
    for step in range(40):
        y, x = read_ramps("scale", step, 0.25)
        spans.append((x[0, -1] - x[0, 0]) / (SIZE - 1))
        assert spans[-1] == pytest.approx((y[-1, 0] - y[0, 0]) / (SIZE - 1), abs=1e-3)
        assert x.mean() == pytest.approx((SIZE - 1) / 2, abs=0.01)
    assert min(spans) > 1 / 1.25
    assert max(spans) < 1.25
    assert min(spans) < 0.85
    assert max(spans) > 1.15


def test_affine_maps_straight_lines_to_straight_lines() -> None:
    where = read_ramps("affine", 1, 0.2)
    for axis in (1, 2):
        np.testing.assert_allclose(np.diff(where, n=2, axis=axis), 0, atol=1e-2)
    slopes = np.stack([np.diff(where, axis=1)[:, 0, 0], np.diff(where, axis=2)[:, 0, 0]])
    assert (np.abs(slopes - np.eye(2)) < 0.21).all()
    assert (np.abs(slopes - np.eye(2)) > 0.01).any()


def test_elastic_is_smooth_bounded_and_never_folds() -> None:
    for step in range(10):
        where = read_ramps("elastic", step, 12)
        assert np.abs(where - np.mgrid[:SIZE, :SIZE]).max() <= 12
        assert np.abs(np.diff(where, n=2, axis=1)).max() < 0.1
        assert (np.diff(where[0], axis=0) > 0).all()
        assert (np.diff(where[1], axis=1) > 0).all()


def test_slip_shifts_one_side_of_a_line_sideways() -> None:
    axes = set()
    for step in range(12):
        shift = read_ramps("slip", step, 6) - np.mgrid[:SIZE, :SIZE]
        (axis,) = [axis for axis in (0, 1) if np.abs(np.ptp(shift[axis])) > 1e-3]
        axes.add(axis)
        assert np.abs(shift).max() <= 6.01
        # each row (or column) moves as a whole, and only one of them differs from the one before
        lines = shift[axis] if axis == 1 else shift[axis].T
        assert np.ptp(lines, axis=1).max() < 1e-2
        assert (np.abs(np.diff(lines[:, 0])) > 1e-2).sum() == 1
    assert axes == {0, 1}


@pytest.mark.parametrize("corner", [(0, 0), (0, 56), (56, 56), (30, 5)])
def test_nothing_from_outside_the_window_enters(corner: tuple[int, int]) -> None:
    """Patches at the border are deformed too: by looking elsewhere, not by padding."""
    side = 120
    grid = ramps(side)
    corners = np.array([corner, corner])
    batch = batch_of(grid / (side - 1))._replace(corners=corners)
    for step in range(5):
        images, _ = augment(TOGETHER, batch, step)
        for number, axis in ((0, 1), (1, 2)):
            along = np.abs(np.diff(images[number].numpy() * (side - 1), axis=axis - 1))
            still = (along < 1e-4).mean()  # padding repeats pixels, mirroring turns back
            assert still < 0.05


def test_a_window_that_is_too_small_is_squeezed_into() -> None:
    images, _ = augment(only("scale", strength=3), batch_of(ramps(SIZE) / (SIZE - 1)), 1)
    wide = images[1, 0] * (SIZE - 1)
    assert wide.min() >= 0
    assert wide.max() <= SIZE - 1
    assert (np.diff(wide.numpy()) > 0).all()


def test_reading_at_the_pixels_themselves_is_the_image() -> None:
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.random((2, SIZE, SIZE), dtype=np.float32))
    ids = torch.from_numpy(rng.integers(0, 9, (2, SIZE, SIZE)).astype(np.int32))
    where = centred_grid(SIZE, torch.device("cpu")).expand(2, -1, -1, -1) + (SIZE - 1) / 2
    warped, nearest = read_at(images, ids, where)
    torch.testing.assert_close(warped, images, atol=1e-4, rtol=0)
    assert torch.equal(nearest, ids)


def test_a_volume_hardly_larger_than_a_patch_can_be_trained_on(synthetic_volume: Volume) -> None:
    margin = TOGETHER.margin(96)
    sampler = PatchSampler(synthetic_volume, "neurites", size=96, seed=0, flips=True, margin=margin)
    augmenter = Augmenter(TOGETHER, size=96, seed=0)
    for step in range(4):
        images, ids = augmenter(sampler.batch(step, 2), step)
        assert images.shape == ids.shape == (2, 96, 96)
        assert images.std() > 0.05
