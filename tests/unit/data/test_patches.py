from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from emsam.data.ingest import Source, ingest_volume
from emsam.data.patches import ORIENTATIONS, UNLABELLED, PatchSampler, orient
from emsam.data.store import Volume
from emsam.errors import InputError

Ingest = Callable[[np.ndarray, np.ndarray], Volume]


@pytest.fixture
def ingest(tmp_path: Path, write_tiff: Callable[..., Path]) -> Ingest:
    """``ingest(image, ids)`` → volume with slices 0-3 for training."""

    def make(image: np.ndarray, ids: np.ndarray) -> Volume:
        source = Source(
            write_tiff("em.tif", image),
            {"neurites": write_tiff("ids.tif", ids)},
            (30.0, 8.0, 8.0),
            split="train=0-3,val=4",
        )
        return ingest_volume("d", source, tmp_path / "d" / "volume.zarr")

    return make


def sampler(volume: Volume, *, seed: int = 0, flips: bool = True, margin: int = 0) -> PatchSampler:
    return PatchSampler(volume, "neurites", size=32, seed=seed, flips=flips, margin=margin)


def test_a_batch_depends_on_seed_and_step_alone(synthetic_volume: Volume) -> None:
    straight = sampler(synthetic_volume)
    batches = [straight.batch(step, 3) for step in range(4)]
    resumed = sampler(synthetic_volume)
    for step in (3, 1, 2, 3):
        again = resumed.batch(step, 3)
        np.testing.assert_array_equal(again.images, batches[step].images)
        np.testing.assert_array_equal(again.labels, batches[step].labels)
        assert again.places == batches[step].places
    other_seed = sampler(synthetic_volume, seed=1).batch(0, 3)
    assert not np.array_equal(other_seed.images, batches[0].images)
    assert not np.array_equal(batches[1].images, batches[0].images)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint64])
def test_unlabelled_pixels_are_marked(ingest: Ingest, dtype: type) -> None:
    ids = np.ones((5, 32, 32), dtype)
    ids[:, :, 20:] = 2
    nobody = 255 if dtype is np.uint8 else 2**60
    ids[:, 5:9] = nobody
    image = np.random.default_rng(0).integers(0, 255, ids.shape, np.uint8)
    volume = ingest(image, ids)
    patches = PatchSampler(
        volume, "neurites", size=32, seed=0, flips=False, unlabelled=nobody
    ).batch(0, 1)
    np.testing.assert_array_equal(patches.labels[0] == UNLABELLED, ids[0] == nobody)
    assert len(np.unique(patches.labels)) == 3


def test_shapes_types_and_range(synthetic_volume: Volume) -> None:
    images, labels, *_ = sampler(synthetic_volume).batch(0, 5)
    assert (images.shape, images.dtype) == ((5, 32, 32), np.float32)
    assert (labels.shape, labels.dtype) == ((5, 32, 32), np.int32)
    assert images.min() >= 0
    assert images.max() <= 1


def test_patches_come_from_the_split_and_not_from_missing_sections(ingest: Ingest) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (5, 40, 48), dtype=np.uint8)
    grey[1] = 9  # missing
    ids = np.broadcast_to(np.arange(1, 6, dtype=np.uint16)[:, None, None], grey.shape)
    draw = sampler(ingest(grey, np.ascontiguousarray(ids)))
    seen = {int(id_) for step in range(20) for id_ in np.unique(draw.batch(step, 4).labels)}
    assert seen == {1, 3, 4}  # ids are z + 1; 2 is missing, 5 is validation


def test_patches_reach_every_corner_of_a_slice(ingest: Ingest) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (5, 34, 33), dtype=np.uint8)
    ids = np.broadcast_to(np.arange(1, 34 * 33 + 1).reshape(34, 33), grey.shape).astype(np.uint16)
    draw = sampler(ingest(grey, ids), flips=False)
    seen = {int(id_) for step in range(30) for id_ in np.unique(draw.batch(step, 4).labels)}
    assert seen == set(range(1, 34 * 33 + 1))


def test_image_and_labels_are_turned_together(ingest: Ingest) -> None:
    ids = np.random.default_rng(0).integers(1, 256, (5, 40, 48), dtype=np.uint8)
    draw = sampler(ingest(ids, ids))
    for step in range(10):
        images, labels, *_ = draw.batch(step, 2)
        np.testing.assert_allclose(images * 255, labels, atol=1e-3)


@pytest.mark.parametrize("first", [2**31, 2**32, 2**40])
def test_large_ids_stay_objects_of_their_own(first: int, ingest: Ingest) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (5, 32, 32), dtype=np.uint8)
    ids = np.zeros((5, 32, 32), np.uint64)
    ids[:, :, :10], ids[:, :, 10:20] = first, 2 * first
    labels = sampler(ingest(grey, ids), flips=False).batch(0, 1).labels
    assert (labels[0, :, :20] > 0).all()
    assert (labels[0, :, 20:] == 0).all()
    assert labels[0, 0, 0] != labels[0, 0, 15]


def test_what_cannot_be_trained_on_is_refused(synthetic_volume: Volume) -> None:
    plain = {"size": 32, "seed": 0, "flips": False}
    with pytest.raises(InputError, match="dendrites"):
        PatchSampler(synthetic_volume, "dendrites", **plain)
    with pytest.raises(InputError, match=r"train\.patch"):
        PatchSampler(synthetic_volume, "neurites", **plain | {"size": 112})
    with pytest.raises(InputError, match="holdout"):
        PatchSampler(synthetic_volume, "neurites", split="holdout", **plain)


def test_the_eight_positions_of_a_square_all_differ() -> None:
    square = np.arange(16).reshape(4, 4)
    assert len({orient(square, k).tobytes() for k in range(ORIENTATIONS)}) == 8


def test_a_grid_covers_each_slice_and_is_all_that_is_drawn(ingest: Ingest) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (5, 70, 64), dtype=np.uint8)
    ids = np.broadcast_to(np.arange(1, 70 * 64 + 1).reshape(70, 64), grey.shape).astype(np.uint16)
    draw = PatchSampler(ingest(grey, ids), "neurites", size=32, seed=0, flips=True, grid=True)
    places = draw.grid_places()
    corners = {(place.y, place.x) for place in places}
    assert corners == {(y, x) for y in (0, 32, 38) for x in (0, 32)}
    assert len(places) == len(set(places)) == 4 * 6 * ORIENTATIONS
    batches = [draw.batch(step, 8) for step in range(200)]
    assert {place for batch in batches for place in batch.places} == set(places)
    batch = batches[0]
    for image, place in zip(batch.images, batch.places, strict=True):
        np.testing.assert_array_equal(image, draw.image(place))


@pytest.mark.parametrize(("margin", "window"), [(0, 32), (3, 38), (4, 40), (9, 40)])
def test_a_window_holds_its_patch_and_lies_in_the_slice(
    margin: int, window: int, ingest: Ingest
) -> None:
    ids = np.arange(1, 40 * 48 + 1, dtype=np.uint16).reshape(1, 40, 48).repeat(5, axis=0)
    grey = np.random.default_rng(0).integers(0, 256, ids.shape, dtype=np.uint8)
    volume = ingest(grey, ids)
    alone, wide = sampler(volume), sampler(volume, margin=margin)
    for step in range(12):
        patches, windows = alone.batch(step, 4), wide.batch(step, 4)
        assert windows.places == patches.places
        assert windows.labels.shape == windows.images.shape == (4, window, window)
        for number, (y, x) in enumerate(windows.corners):
            here = (number, slice(y, y + 32), slice(x, x + 32))
            np.testing.assert_array_equal(windows.labels[here], patches.labels[number])
            np.testing.assert_array_equal(windows.images[here], patches.images[number])
