from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
import zarr

from emsam.data.digest import file_md5, folder_digest
from emsam.data.ingest import Source, ingest_volume
from emsam.data.readers import open_stack
from emsam.errors import InputError
from tests.unit.data.conftest import VOXEL

Snapshot = Callable[[Path], dict[str, bytes | None]]


# -- what goes in comes out -----------------------------------------------------------------------


def test_image_and_labels_come_back_exactly(
    source: Source, store: Path, grey_stack: np.ndarray, id_stack: np.ndarray
) -> None:
    volume = ingest_volume("ca1", source, store)
    assert (volume.shape, volume.tasks) == (grey_stack.shape, ("neurites",))
    np.testing.assert_array_equal(zarr.open_array(store / "image/0", mode="r")[:], grey_stack)
    for z in range(len(grey_stack)):
        np.testing.assert_allclose(volume.image(z), grey_stack[z] / 255, atol=1e-7)
        np.testing.assert_array_equal(volume.labels("neurites", z), id_stack[z])
    assert volume.image(0).dtype == np.float32


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "u8", "i4", "i8", ">u2", ">u4"])
def test_labels_of_any_integer_type(
    dtype: str, store: Path, source: Source, write_tiff: Callable[..., Path], id_stack: np.ndarray
) -> None:
    ids = id_stack.astype(dtype)
    if ids.dtype.itemsize == 8:
        ids[ids > 0] += 2**40
    labels = write_tiff("ids.tif", ids, byteorder=">" if dtype[0] == ">" else "<")
    volume = ingest_volume("ca1", Source(source.image, {"neurites": labels}, VOXEL), store)
    got = np.stack([volume.labels("neurites", z) for z in range(len(ids))])
    np.testing.assert_array_equal(got, ids)
    assert got.dtype.kind == "u"


@pytest.mark.parametrize("dtype", ["i1", "i2", ">i2"])
def test_signed_images_without_negative_values_are_unsigned(
    dtype: str, store: Path, write_tiff: Callable[..., Path], grey_stack: np.ndarray
) -> None:
    grey = (grey_stack // 2).astype(dtype)
    image = write_tiff("em.tif", grey, byteorder=">" if dtype[0] == ">" else "<")
    ingest_volume("ca1", Source(image, {}, VOXEL), store)
    stored = zarr.open_array(store / "image/0", mode="r")
    np.testing.assert_array_equal(stored[:], grey)
    assert stored.dtype == np.dtype(f"u{dtype[-1]}")


@pytest.mark.parametrize(
    ("dtype", "said"),
    [("i1", "slice 3 has the value -7 (int8, signed); add 128"), ("i2", "(int16, signed)")],
)
def test_signed_images_with_negative_values_are_refused(
    dtype: str, said: str, store: Path, write_tiff: Callable[..., Path], grey_stack: np.ndarray
) -> None:
    grey = (grey_stack // 2).astype(dtype)
    grey[3, 4, 5] = -7
    with pytest.raises(InputError, match=r"em\.tif") as caught:
        ingest_volume("ca1", Source(write_tiff("em.tif", grey), {}, VOXEL), store)
    assert said in str(caught.value)


@pytest.mark.parametrize("dtype", ["u2", ">u2", "f2", "f4", "f8"])
def test_images_of_other_types_fill_the_range_from_0_to_1(
    dtype: str, store: Path, write_tiff: Callable[..., Path]
) -> None:
    grey = np.random.default_rng(0).uniform(1000, 3000, (4, 50, 60)).astype(dtype)
    image = write_tiff("em.tif", grey, byteorder=">" if dtype[0] == ">" else "<")
    volume = ingest_volume("ca1", Source(image, {}, VOXEL), store)
    np.testing.assert_array_equal(zarr.open_array(store / "image/0", mode="r")[:], grey)
    got = np.stack([volume.image(z) for z in range(4)])
    assert got.min() == 0
    assert got.max() == 1
    # linear in between: 2000 is the middle
    np.testing.assert_allclose(got[np.abs(grey.astype(float) - 2000) < 2], 0.5, atol=0.02)
    assert volume.tasks == ()


def test_more_slices_than_a_slab(store: Path, write_tiff: Callable[..., Path]) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (70, 10, 12), dtype=np.uint8)
    ingest_volume("ca1", Source(write_tiff("em.tif", grey), {}, VOXEL), store)
    np.testing.assert_array_equal(zarr.open_array(store / "image/0", mode="r")[:], grey)


def test_constant_slices_are_missing_and_left_out(
    store: Path, write_tiff: Callable[..., Path], grey_stack: np.ndarray, id_stack: np.ndarray
) -> None:
    grey_stack[1] = 17
    id_stack[3] = 0
    source = Source(
        write_tiff("em.tif", grey_stack),
        {"neurites": write_tiff("ids.tif", id_stack)},
        VOXEL,
        split="train=0-2,val=3-4",
    )
    volume = ingest_volume("ca1", source, store)
    assert volume.slices("train", "neurites") == [0, 2]
    # tissue without neurites there is none: nobody labelled slice 3
    assert volume.slices("val", "neurites") == [4]
    assert any("missing" in each and "1" in each for each in volume.info.warnings)
    assert any("neurites" in each and "3" in each for each in volume.info.warnings)


def test_progress_counts_the_slices(source: Source, store: Path) -> None:
    seen: list[tuple[int, int]] = []
    ingest_volume("ca1", source, store, lambda done, total: seen.append((done, total)))
    assert seen == [(n, 5) for n in range(1, 6)]


# -- twice ----------------------------------------------------------------------------------------


def test_ingest_twice_is_the_same_version(source: Source, store: Path, tmp_path: Path) -> None:
    ingest_volume("ca1", source, store)
    first = folder_digest(store)
    ingest_volume("ca1", source, store)
    assert folder_digest(store) == first
    elsewhere = tmp_path / "elsewhere" / "volume.zarr"
    ingest_volume("ca1", source, elsewhere)
    assert folder_digest(elsewhere) == first


@pytest.mark.parametrize("change", ["image", "labels", "voxel size", "split"])
def test_another_source_does_not_replace_a_volume(
    change: str,
    source: Source,
    store: Path,
    grey_stack: np.ndarray,
    id_stack: np.ndarray,
    tree_of: Snapshot,
) -> None:
    ingest_volume("ca1", source, store)
    before = tree_of(store.parent)
    other = source
    if change == "image":
        tifffile.imwrite(source.image, 255 - grey_stack, photometric="minisblack")
    elif change == "labels":
        tifffile.imwrite(source.labels["neurites"], id_stack + 1, photometric="minisblack")
    elif change == "voxel size":
        other = Source(source.image, source.labels, (40.0, 8.0, 8.0))
    else:
        other = Source(source.image, source.labels, VOXEL, split="train=0-2")
    with pytest.raises(InputError, match=str(store)):
        ingest_volume("ca1", other, store)
    assert tree_of(store.parent) == before


@pytest.mark.parametrize("kind", ["tiff", "folder", "hdf5"])
def test_a_store_that_names_the_md5_of_its_files_is_kept(
    kind: str, source: Source, store: Path, tmp_path: Path, grey_stack: np.ndarray
) -> None:
    image = source.image if kind == "tiff" else write_as(kind, tmp_path / kind, grey_stack)
    given = Source(image, source.labels, VOXEL)
    ingest_volume("ca1", given, store)
    with open_stack(image) as grey, open_stack(source.labels["neurites"]) as ids:
        md5s = [each.identity(file_md5) for each in (grey, ids)]
    assert all(re.fullmatch(r"[0-9a-f]{32}(\.slices|:/volumes/raw)?", each) for each in md5s)
    recipe = {"image": md5s[0], "labels": {"neurites": md5s[1]}, "voxel_size": VOXEL, "split": ""}
    group = zarr.open_group(store, mode="r+")
    group.attrs["emsam"] = group.attrs["emsam"] | {"source": json.dumps(recipe)}
    before = folder_digest(store)
    ingest_volume("ca1", given, store)
    assert folder_digest(store) == before
    tifffile.imwrite(source.labels["neurites"], grey_stack, photometric="minisblack")
    with pytest.raises(InputError, match="made from other input"):
        ingest_volume("ca1", given, store)


@pytest.mark.parametrize("kind", ["folder", "hdf5"])
def test_other_formats_become_the_same_volume(
    kind: str,
    source: Source,
    store: Path,
    tmp_path: Path,
    grey_stack: np.ndarray,
    id_stack: np.ndarray,
) -> None:
    pair = [
        write_as(kind, tmp_path / kind / each, array)
        for each, array in (("em", grey_stack), ("ids", id_stack))
    ]
    other = Source(pair[0], {"neurites": pair[1]}, VOXEL)
    volume = ingest_volume("ca1", other, store)
    first = folder_digest(store)
    np.testing.assert_array_equal(zarr.open_array(store / "image/0", mode="r")[:], grey_stack)
    np.testing.assert_array_equal(volume.labels("neurites", 3), id_stack[3])
    ingest_volume("ca1", other, store)
    assert folder_digest(store) == first
    with pytest.raises(InputError, match="made from other input"):
        ingest_volume("ca1", source, store)


def write_as(kind: str, path: Path, array: np.ndarray) -> str:
    """A location with ``array`` in a format of your choice."""
    path.mkdir(parents=True)
    if kind == "folder":
        for z, plane in enumerate(array):
            tifffile.imwrite(path / f"z{z}.tif", plane, photometric="minisblack")
        return str(path)
    with h5py.File(path / "s.h5", "w") as file:
        file["volumes/raw"] = array
    return f"{path}/s.h5:/volumes/raw"


def test_the_voxel_size_of_the_image_is_taken_unless_another_is_given(
    store: Path, tmp_path: Path, write_tiff: Callable[..., Path], grey_stack: np.ndarray
) -> None:
    sizes = {
        f"PhysicalSize{axis}": side / 1000 for axis, side in zip("ZYX", (40, 8, 8), strict=True)
    }
    image = write_tiff("em.ome.tif", grey_stack, metadata={"axes": "ZYX"} | sizes)
    assert ingest_volume("a", Source(image, {}), store).info.voxel_size == (40, 8, 8)
    assert ingest_volume("a", Source(image, {}, (40.0, 8.0, 8.0)), store)
    with pytest.raises(InputError, match="made from other input"):
        ingest_volume("a", Source(image, {}, VOXEL), store)
    other = ingest_volume("b", Source(image, {}, VOXEL), tmp_path / "b" / "volume.zarr")
    assert other.info.voxel_size == VOXEL


def test_an_image_without_a_voxel_size_needs_one(source: Source, store: Path) -> None:
    with pytest.raises(InputError, match=r"em\.tif: says no voxel size; give --voxel-size z,y,x"):
        ingest_volume("ca1", Source(source.image, source.labels), store)
    assert not store.parent.exists()


def test_what_a_reader_noticed_is_told(store: Path, tmp_path: Path, grey_stack: np.ndarray) -> None:
    write_as("folder", tmp_path / "em", grey_stack)
    (tmp_path / "em" / "z1.tif").unlink()
    volume = ingest_volume("ca1", Source(tmp_path / "em", {}, VOXEL), store)
    assert any("gaps after 0" in each for each in volume.info.warnings)


# -- interrupted ----------------------------------------------------------------------------------


def test_a_person_s_interrupt_leaves_nothing(
    source: Source, store: Path, tmp_path: Path, tree_of: Snapshot
) -> None:
    before = tree_of(tmp_path)

    def interrupt(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest_volume("ca1", source, store, interrupt)
    assert tree_of(tmp_path) == before


def test_a_lost_section_does_not_widen_the_grey_range(
    store: Path, write_tiff: Callable[..., Path], id_stack: np.ndarray
) -> None:
    shape = id_stack.shape
    image = np.random.default_rng(0).integers(20_000, 40_000, shape, dtype=np.uint16)
    image[2] = 0
    source = Source(
        write_tiff("em.tif", image), {"neurites": write_tiff("ids.tif", id_stack)}, VOXEL
    )
    low, high = ingest_volume("ca1", source, store).info.intensity
    assert 19_900 < low < 21_000
    assert 39_000 < high < 40_100
