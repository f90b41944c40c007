from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from emsam.data.digest import folder_digest
from emsam.data.store import Volume
from emsam.data.synthetic import synthesize_volume
from emsam.errors import InputError

SHAPE = (8, 64, 64)


def stack(volume: Volume, task: str) -> np.ndarray:
    return np.stack([volume.labels(task, z) for z in range(volume.shape[0])])


def present(volume: Volume) -> list[int]:
    return [z for z in range(volume.shape[0]) if z not in volume.info.missing]


def test_the_same_seed_gives_the_same_voxels(tmp_path: Path) -> None:
    paths = [tmp_path / each / "demo" / "volume.zarr" for each in "abc"]
    for path, seed in zip(paths, (5, 5, 6), strict=True):
        synthesize_volume("demo", path, shape=SHAPE, seed=seed)
    a, b, c = map(folder_digest, paths)
    assert a == b
    assert a != c
    before = {path: path.stat().st_mtime_ns for path in paths[0].rglob("*")}
    synthesize_volume("demo", paths[0], shape=SHAPE, seed=5)  # kept as it is
    assert {path: path.stat().st_mtime_ns for path in paths[0].rglob("*")} == before


def test_another_seed_or_shape_does_not_replace_a_volume(tmp_path: Path) -> None:
    store = tmp_path / "demo" / "volume.zarr"
    synthesize_volume("demo", store, shape=SHAPE, seed=0)
    for changed in ({"seed": 1}, {"shape": (9, 64, 64)}):
        with pytest.raises(InputError, match=str(store)):
            synthesize_volume("demo", store, **{"shape": SHAPE, "seed": 0} | changed)  # type: ignore[arg-type]


def test_neurites_run_through_the_slices_with_membranes_between(synthetic_volume: Volume) -> None:
    ids = stack(synthetic_volume, "neurites")
    for z in present(synthetic_volume):
        assert len(np.unique(ids[z])) > 5
        assert 0.05 < (ids[z] == 0).mean() < 0.6
        touching = (ids[z, :, 1:] != ids[z, :, :-1]) & (ids[z, :, 1:] > 0) & (ids[z, :, :-1] > 0)
        assert touching.mean() < 0.01
    slices = [set(np.unique(ids[z])) - {0} for z in present(synthetic_volume)]
    assert len(slices[0] & slices[1]) > 3  # the same ids in neighbouring slices


def test_membranes_are_dark(synthetic_volume: Volume) -> None:
    z = present(synthetic_volume)[0]
    image, ids = synthetic_volume.image(z), synthetic_volume.labels("neurites", z)
    assert image[ids == 0].mean() < image[ids > 0].mean() - 0.05


def test_a_mitochondrion_lies_in_one_neurite(synthetic_volume: Volume) -> None:
    neurites = stack(synthetic_volume, "neurites")
    mitochondria = stack(synthetic_volume, "mitochondria")
    numbers = set(np.unique(mitochondria)) - {0}
    assert len(numbers) >= 3
    for number in numbers:
        assert len(set(np.unique(neurites[mitochondria == number])) - {0}) == 1
        assert (neurites[mitochondria == number] > 0).all()


def test_a_missing_section_is_black_unlabelled_and_left_out(synthetic_volume: Volume) -> None:
    (lost,) = synthetic_volume.info.missing
    assert np.ptp(synthetic_volume.image(lost)) == 0
    for task in synthetic_volume.tasks:
        assert not synthetic_volume.labels(task, lost).any()
    used = [
        z
        for split in synthetic_volume.info.splits
        for z in synthetic_volume.slices(split, "neurites")
    ]
    assert used == present(synthetic_volume)


def test_both_tasks_have_objects_in_every_split(synthetic_volume: Volume) -> None:
    assert synthetic_volume.tasks == ("mitochondria", "neurites")
    for task in synthetic_volume.tasks:
        for split in ("train", "val", "test"):
            assert any(
                synthetic_volume.labels(task, z).any() for z in synthetic_volume.slices(split, task)
            )


def test_a_shape_that_is_too_small_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    for shape in ((7, 64, 64), (8, 63, 64), (8, 64, 63)):
        with pytest.raises(InputError, match="--shape"):
            synthesize_volume("demo", tmp_path / "demo" / "volume.zarr", shape=shape)
    assert list(tmp_path.iterdir()) == []


def test_a_negative_seed_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="seed"):
        synthesize_volume("demo", tmp_path / "demo" / "volume.zarr", shape=SHAPE, seed=-1)
