"""Shards that we write are those that any reader of Zarr v3 expects."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr

from emsam.data import pyramid
from emsam.data.halving import image_levels
from emsam.data.pyramid import CHUNK, codec_of, create_level
from emsam.data.shards import Shard, blosc, takes_direct_io
from emsam.data.store import VolumeInfo
from emsam.data.writer import VolumeWriter

SHARD = (4, 512, 512)


def write_by_shards(folder: Path, voxels: np.ndarray, *, compressed: bool) -> zarr.Array:
    group = zarr.open_group(folder, mode="a", zarr_format=3)
    array = create_level(group, "made", 0, voxels.shape, voxels.dtype, SHARD, compressed=compressed)
    compress = blosc(codec_of(voxels.dtype)) if compressed else None
    for top in range(0, voxels.shape[1], SHARD[1]):
        for left in range(0, voxels.shape[2], SHARD[2]):
            rows = slice(top, min(top + SHARD[1], voxels.shape[1]))
            columns = slice(left, min(left + SHARD[2], voxels.shape[2]))
            shard = Shard(SHARD, CHUNK[1:], rows, columns, voxels.dtype)
            for first in range(0, len(voxels), SHARD[0]):
                planes = voxels[first : first + SHARD[0]]
                for z, plane in enumerate(planes):
                    shard.put(z, plane)
                direct = takes_direct_io(folder)
                shard.write(folder / "made", first, len(planes), compress, direct=direct)
    return array


@pytest.mark.parametrize("compressed", [True, False], ids=["compressed", "raw"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64", "float32"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (4, 512, 512), (6, 600, 300), (9, 255, 1025)])
def test_zarr_reads_what_was_put_in(
    tmp_path: Path, shape: tuple[int, int, int], dtype: str, compressed: bool
) -> None:
    voxels = np.random.default_rng(0).integers(0, 200, shape).astype(dtype)
    array = write_by_shards(tmp_path, voxels, compressed=compressed)
    np.testing.assert_array_equal(array[:], voxels)  # zarr-python's own codecs, not zarrs
    pieces = (slice(shape[0] // 2, None), slice(shape[1] // 3, None), slice(0, shape[2] // 2 + 1))
    np.testing.assert_array_equal(array[pieces], voxels[pieces])


@pytest.mark.parametrize("compressed", [True, False], ids=["compressed", "raw"])
def test_zeros_are_not_stored(tmp_path: Path, compressed: bool) -> None:
    """As zarr does it: neither a file of zeros nor a chunk of zeros beside others."""
    voxels = np.zeros((8, 1024, 512), np.uint16)
    voxels[4:, 700:800, 100:110] = 7
    voxels[5, 1023, 511] = 1
    array = write_by_shards(tmp_path / "ours", voxels, compressed=compressed)
    theirs = create_level(
        zarr.open_group(tmp_path / "theirs", mode="a", zarr_format=3),
        "made", 0, voxels.shape, voxels.dtype, SHARD, compressed=compressed,
    )  # fmt: skip
    theirs[:] = voxels

    def files(folder: Path) -> set[Path]:
        return {each.relative_to(folder) for each in folder.rglob("*") if each.is_file()}

    assert files(tmp_path / "ours") == files(tmp_path / "theirs")
    np.testing.assert_array_equal(array[:], voxels)
    index = np.frombuffer((tmp_path / "ours/made/c/1/1/0").read_bytes()[-260:-4], "<u8")
    assert np.count_nonzero(index.reshape(-1, 2)[:, 1] == 2**64 - 1) == 16 - 9


@pytest.mark.parametrize("compressed", [True, False], ids=["compressed", "raw"])
def test_a_shard_that_is_filled_again_makes_the_file_of_a_new_one(
    tmp_path: Path, compressed: bool
) -> None:
    """Beyond the edges of the array, too, where nothing is ever put."""
    compress = blosc(codec_of(np.dtype(np.uint8))) if compressed else None
    first, second = np.zeros((2, 300, 300), np.uint8)
    first[:256, :256] = np.random.default_rng(0).integers(0, 256, (256, 256), dtype=np.uint8)
    second[0, 0] = 1
    sides = slice(0, 300), slice(0, 300)
    again, new = (Shard((1, 512, 512), CHUNK[1:], *sides, first.dtype) for _ in range(2))
    again.put(0, first)
    again.write(tmp_path / "first", 0, 1, compress, direct=False)
    for shard, name in ((again, "again"), (new, "new")):
        shard.put(0, second)
        shard.write(tmp_path / name, 0, 1, compress, direct=False)
    files = [(tmp_path / name / "c/0/0/0").read_bytes() for name in ("again", "new")]
    assert files[0] == files[1]


def noise(shape: tuple[int, int, int]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def few_greys(shape: tuple[int, int, int]) -> np.ndarray:
    return noise(shape) // 32


def noise_after_8_slices(shape: tuple[int, int, int]) -> np.ndarray:
    voxels = noise(shape)
    voxels[:8] //= 32
    return voxels


def noise_at_the_left(shape: tuple[int, int, int]) -> np.ndarray:
    """Compression saves half of it."""
    voxels = few_greys(shape)
    voxels[:, :, :256] = noise(shape)[:, :, :256]
    return voxels


def black_but_noise(shape: tuple[int, int, int]) -> np.ndarray:
    """Half is stored in no case, and of the rest compression saves nothing."""
    voxels = noise(shape)
    voxels[:, :, 512:] = 0
    return voxels


def black(shape: tuple[int, int, int]) -> np.ndarray:
    return np.zeros(shape, np.uint8)


@pytest.mark.parametrize(
    ("image", "sides", "raw"),
    [
        (noise, (1024, 1280), {0}),  # of coarser levels much lies beyond the edges
        (noise, (1100, 1300), set()),
        (few_greys, (1024, 1280), set()),
        (noise_after_8_slices, (1024, 1280), set()),
        (noise_at_the_left, (1024, 1280), set()),
        (black_but_noise, (1024, 1024), {0, 1}),
        (black, (1024, 1280), set()),
    ],
)
def test_a_level_of_an_image_is_compressed_where_that_saves_a_fifth(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    image: Callable[..., np.ndarray],
    sides: tuple[int, int],
    raw: set[int],
) -> None:
    """Its first slab decides, for whoever goes on after a kill, too; labels always are."""
    monkeypatch.setattr(pyramid, "LARGEST_SLAB", 100 << 20)
    voxels = image((20, *sides))
    ids = np.repeat(np.arange(sides[0], dtype=np.uint32)[:, None], sides[1], axis=1)
    path, types = tmp_path / "volume.zarr", {"neurites": ids.dtype}
    with VolumeWriter(path, voxels.shape, voxels.dtype, types) as writer:
        assert writer.depth == 8
        for plane in voxels[:16]:  # the first slab is on the disk before the second is taken
            writer.append(image_levels(plane), {"neurites": ids})
    with VolumeWriter(path, voxels.shape, voxels.dtype, types, begun=8) as writer:
        for plane in voxels[8:]:
            writer.append(image_levels(plane), {"neurites": ids})
        writer.finish(VolumeInfo(name="volume", voxel_size=(1, 1, 1)))

    group = zarr.open_group(path, mode="r")
    levels = sorted(group["image"].array_keys())
    assert {int(level) for level in levels if not group[f"image/{level}"].compressors} == raw
    assert all(group[f"labels/neurites/{level}"].compressors for level in levels)
    np.testing.assert_array_equal(group["image/0"][:], voxels)
    for z in (0, 8, 19):
        np.testing.assert_array_equal(group["labels/neurites/0"][z], ids)
        np.testing.assert_array_equal(group["labels/neurites/1"][z], ids[::2, ::2])
