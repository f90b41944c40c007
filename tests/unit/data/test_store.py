from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import zarr

from emsam.data import pyramid, writer
from emsam.data.digest import folder_digest
from emsam.data.halving import image_levels
from emsam.data.ingest import Source, ingest_volume
from emsam.data.pyramid import shard_of
from emsam.data.store import Volume, VolumeInfo
from emsam.data.writer import VolumeWriter
from emsam.errors import DamagedInput, InputError
from emsam.settings import Settings


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> tuple[Volume, np.ndarray, np.ndarray]:
    """A volume with odd sides and three pyramid levels, its image and its labels."""
    import tifffile

    folder = tmp_path_factory.mktemp("wide")
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (2, 301, 520), dtype=np.uint8)
    labels = rng.integers(0, 9, (2, 301, 520), dtype=np.uint32)
    tifffile.imwrite(folder / "em.tif", image, photometric="minisblack")
    tifffile.imwrite(folder / "ids.tif", labels, photometric="minisblack")
    source = Source(folder / "em.tif", {"neurites": folder / "ids.tif"}, (50.0, 4.0, 5.0))
    return ingest_volume("wide", source, folder / "wide" / "volume.zarr"), image, labels


def test_pyramid_halves_y_and_x_until_256_pixels(
    wide: tuple[Volume, np.ndarray, np.ndarray],
) -> None:
    volume, image, labels = wide
    for key in ("image", "labels/neurites"):
        group = zarr.open_group(volume.path / key, mode="r")
        shapes = [group[level].shape for level in sorted(group.array_keys())]
        assert shapes == [(2, 301, 520), (2, 151, 260), (2, 76, 130)]
    level1 = zarr.open_array(volume.path / "image/1", mode="r")[:]
    mean = image[:, :300].reshape(2, 150, 2, 260, 2).mean(axis=(2, 4))
    assert np.abs(level1[:, :150] - mean).max() <= 0.5  # rounded, and an odd last row besides
    ids1 = zarr.open_array(volume.path / "labels/neurites/1", mode="r")[:]
    assert set(np.unique(ids1)) <= set(np.unique(labels))  # ids are picked, never mixed


def test_any_ome_zarr_reader_finds_axes_units_and_scales(
    wide: tuple[Volume, np.ndarray, np.ndarray],
) -> None:
    document = json.loads((wide[0].path / "zarr.json").read_text())
    assert document["zarr_format"] == 3
    ome = document["attributes"]["ome"]
    assert ome["version"] == "0.5"
    (scales,) = ome["multiscales"]
    assert [(axis["name"], axis["type"], axis["unit"]) for axis in scales["axes"]] == [
        (name, "space", "nanometer") for name in "zyx"
    ]
    for level, each in enumerate(scales["datasets"]):
        assert zarr.open_array(wide[0].path / each["path"], mode="r").ndim == 3
        (transform,) = each["coordinateTransformations"]
        assert transform == {"type": "scale", "scale": [50.0, 4.0 * 2**level, 5.0 * 2**level]}


def test_labels_are_listed_and_point_at_their_image(
    wide: tuple[Volume, np.ndarray, np.ndarray],
) -> None:
    labels = wide[0].path / "labels"
    ome = json.loads((labels / "zarr.json").read_text())["attributes"]["ome"]
    assert ome["labels"] == ["neurites"]
    ome = json.loads((labels / "neurites" / "zarr.json").read_text())["attributes"]["ome"]
    assert (labels / "neurites" / ome["image-label"]["source"]["image"]).resolve() == wide[
        0
    ].path.resolve()
    for each in ome["multiscales"][0]["datasets"]:
        assert (labels / "neurites" / each["path"]).is_dir()


def test_a_volume_of_100_slices_is_a_handful_of_files(
    tmp_path: Path, write_tiff: Callable[..., Path]
) -> None:
    image = write_tiff("em.tif", np.random.default_rng(0).integers(0, 256, (100, 64, 64), np.uint8))
    store = tmp_path / "d" / "volume.zarr"
    ingest_volume("d", Source(image, {}, (1.0, 1.0, 1.0)), store)
    assert sum(path.is_file() for path in store.rglob("*")) < 10


def test_unknown_splits_and_tasks_are_refused_with_what_there_is(synthetic_volume: Volume) -> None:
    with pytest.raises(InputError, match=r"train=0-7"):
        synthetic_volume.slices("holdout", "neurites")
    for ask in (synthetic_volume.require_task, lambda task: synthetic_volume.labels(task, 0)):
        with pytest.raises(InputError, match="mitochondria, neurites"):
            ask("dendrites")


def test_a_split_of_missing_sections_alone_is_refused(
    tmp_path: Path, write_tiff: Callable[..., Path], grey_stack: np.ndarray
) -> None:
    grey_stack[3:] = 0
    source = Source(write_tiff("e.tif", grey_stack), {}, (1, 1, 1), split="train=0-2,val=3-4")
    volume = ingest_volume("d", source, tmp_path / "d" / "volume.zarr")
    assert volume.slices("train", "mitochondria") == [0, 1, 2]
    with pytest.raises(InputError, match="val"):
        volume.slices("val", "mitochondria")


def without_splits(info: dict[str, object]) -> None:
    del info["splits"]


def from_the_future(info: dict[str, object]) -> None:
    info |= {"format": 2, "sections": []}


@pytest.mark.parametrize(
    "damage",
    [
        without_splits,
        from_the_future,
        dict.clear,
    ],
)
def test_metadata_that_cannot_be_understood_is_bad_input(
    damage: Callable[[dict[str, object]], None], synthetic_volume: Volume, tmp_path: Path
) -> None:
    copy = tmp_path / "volume.zarr"
    shutil.copytree(synthetic_volume.path, copy)
    document = json.loads((copy / "zarr.json").read_text())
    if damage is dict.clear:
        del document["attributes"]["emsam"]
    else:
        damage(document["attributes"]["emsam"])
    (copy / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=str(copy)):
        Volume(copy)


def test_missing_folders_files_and_other_stores_are_bad_input(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("text")
    zarr.create_group(tmp_path / "other.zarr")
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "zarr.json").write_text('{"zarr_format": 3, "node_t')
    for name in ("none", "empty", "file", "other.zarr", "torn"):
        with pytest.raises(InputError, match=name):
            Volume(tmp_path / name)


def test_the_same_slices_are_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version is a digest of bytes: the order of the many chunks of a shard must not vary.

    Nor whether they are written past the page cache, which some file systems refuse.
    """
    image = np.random.default_rng(0).integers(0, 256, (32, 1024, 1024), dtype=np.uint8)
    digests = set()
    for path in (tmp_path / f"{number}.zarr" for number in range(3)):
        made = VolumeWriter(path, image.shape, image.dtype, {})
        for plane in image:
            made.append(image_levels(plane), {})
        made.finish(VolumeInfo(name="noise", voxel_size=(1, 1, 1)))
        digests.add(folder_digest(path))
        monkeypatch.delattr(os, "O_DIRECT", raising=False)
    assert len(digests) == 1


def test_wide_slices_get_flatter_shards_of_as_many_files(tmp_path: Path) -> None:
    """A slab has to fit in memory: 1 GB for 20 GB of input, however wide it is."""
    assert shard_of((1024, 1024), 9) == (32, 1024, 1024)  # image and two tasks in uint32
    assert shard_of((1024, 1024), 17) == (8, 2048, 2048)  # in uint64: deeper ones do not fit
    assert shard_of((1500, 900), 9) == (8, 2048, 2048)
    assert shard_of((4096, 4096), 1) == shard_of((9000, 9000), 1) == (2, 4096, 4096)
    for side, voxel_bytes in product((1000, 2000, 4000, 12_000), (1, 2, 9, 17)):
        depth, *_ = shard_of((side, side), voxel_bytes)
        assert depth == 1 or depth * side**2 * voxel_bytes <= 320 << 20
    with pytest.MonkeyPatch.context() as narrow:
        narrow.setattr(pyramid, "LARGEST_SLAB", 1 << 20)
        narrow.setattr(writer, "LARGEST_SLAB", 1 << 20)
        planes = np.random.default_rng(0).integers(0, 256, (21, 300, 310), dtype=np.uint8)
        with VolumeWriter(tmp_path / "a.zarr", planes.shape, planes.dtype, {}) as made:
            assert made.depth == 8
            assert sum(made.append(image_levels(plane), {}) for plane in planes) == 2
            made.finish(VolumeInfo(name="noise", voxel_size=(1, 1, 1)))
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "a.zarr/image/0", mode="r")[:], planes)


def copy_of(volume: Volume, tmp_path: Path) -> Path:
    return Path(shutil.copytree(volume.path, tmp_path / "copy" / "volume.zarr"))


def test_a_damaged_chunk_is_named(synthetic_volume: Volume, tmp_path: Path) -> None:
    copy = copy_of(synthetic_volume, tmp_path)
    for shard in (copy / "image" / "0" / "c").rglob("*"):
        if shard.is_file():
            shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    volume = Volume(copy)
    for read in (
        lambda: volume.image(0),
        lambda: volume.stored("image", 0, 1),
        lambda: volume.window("image", 0, 0, slice(0, 9), slice(0, 9)),
    ):
        with pytest.raises(DamagedInput, match=f"{copy}: image/0 cannot be read"):
            read()
    with pytest.raises(DamagedInput, match="labels/9 cannot be read"):
        volume.stored("labels/9", 0, 1)


def test_a_store_that_would_be_unpickled_is_refused(
    synthetic_volume: Volume, tmp_path: Path
) -> None:
    copy = copy_of(synthetic_volume, tmp_path)
    shutil.rmtree(copy / "image" / "0")
    array = copy / "image" / "0"
    array.mkdir()
    about = {
        "zarr_format": 2, "shape": [1, 4, 4], "chunks": [1, 4, 4], "dtype": "|u1", "order": "C",
        "fill_value": 0, "filters": None, "compressor": {"id": "pickle"},
    }  # fmt: skip
    (array / ".zarray").write_text(json.dumps(about))
    (array / "0.0.0").write_bytes(b"cos\nsystem\n(S'touch " + bytes(tmp_path / "ran") + b"'\ntR.")
    with pytest.raises(InputError, match="not a volume store"):
        Volume(copy).image(0)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["../../elsewhere", "/tmp/elsewhere", "..", "", "a\0b", "a\\b", 3])
def test_a_volume_whose_name_leads_elsewhere_is_refused(
    name: object, synthetic_volume: Volume, tmp_path: Path
) -> None:
    copy = copy_of(synthetic_volume, tmp_path)
    document = json.loads((copy / "zarr.json").read_text())
    document["attributes"]["emsam"]["name"] = name
    (copy / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"no name of a volume|not a volume store"):
        Volume(copy)
    if isinstance(name, str):
        with pytest.raises(InputError, match="no name of a volume"):
            Settings(data_root=tmp_path).volume_path(name)


@pytest.mark.parametrize("splits", [{"train": [0, 10**12]}, {"train": [-3, 2]}, {"train": [2, 1]}])
def test_splits_beyond_the_slices_are_refused(
    splits: dict[str, list[int]], synthetic_volume: Volume, tmp_path: Path
) -> None:
    copy = copy_of(synthetic_volume, tmp_path)
    document = json.loads((copy / "zarr.json").read_text())
    document["attributes"]["emsam"]["splits"] = splits
    (copy / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match="not a volume store"):
        Volume(copy)


def test_a_device_in_place_of_a_file_is_never_read(
    synthetic_volume: Volume, tmp_path: Path
) -> None:
    copy = copy_of(synthetic_volume, tmp_path)
    shard = next(path for path in (copy / "image" / "0" / "c").rglob("*") if path.is_file())
    shard.unlink()
    shard.symlink_to("/dev/zero")
    with pytest.raises(DamagedInput, match="is no file"):
        Volume(copy).image(0)
    (copy / "labels" / "neurites" / "zarr.json").unlink()
    (copy / "labels" / "neurites" / "zarr.json").symlink_to("/dev/zero")
    with pytest.raises(InputError, match="is no file"):
        Volume(copy)
