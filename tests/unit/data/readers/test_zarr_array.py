from __future__ import annotations

import json
import pickle
import shutil
import warnings
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from emsam.data.ingest import Source, ingest_volume
from emsam.data.readers import open_stack, stack, zarr_array
from emsam.errors import InputError
from tests.stacks import read, refusal, stacks

COMPRESSORS_2 = {
    "none": None, "zlib": numcodecs.Zlib(), "gzip": numcodecs.GZip(), "lz4": numcodecs.LZ4(),
    "blosc": numcodecs.Blosc(), "zstd": numcodecs.Zstd(), "bz2": numcodecs.BZ2(),
    "lzma": numcodecs.LZMA(),
}  # fmt: skip
COMPRESSORS_3 = {
    "none": None, "gzip": zarr.codecs.GzipCodec(), "blosc": zarr.codecs.BloscCodec(),
    "zstd": zarr.codecs.ZstdCodec(),
}  # fmt: skip


def write(path: Path, array: np.ndarray, **options: Any) -> Path:
    options = {"chunks": (2, 16, 16), "zarr_format": 3} | options
    chunks = tuple(min(a, b) for a, b in zip(options.pop("chunks"), array.shape, strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stored = zarr.create_array(
            path, shape=array.shape, dtype=array.dtype, chunks=chunks, **options
        )
        stored[...] = array
    return path


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def ome(
    path: Path,
    array: np.ndarray,
    axes: str = "zyx",
    *,
    version: str = "0.5",
    unit: str | None = "nanometer",
    scale: tuple[float, ...] = (40, 4, 5),
) -> Path:
    """An OME-Zarr image of two levels."""
    third = version == "0.5"
    group = zarr.create_group(path, zarr_format=3 if third else 2)
    short = [{"name": axis} | ({"unit": unit} if unit and axis in "zyx" else {}) for axis in axes]
    scales = [1.0] * (len(axes) - len(scale)) + list(scale)
    multiscale = {
        "axes": short,
        "datasets": [
            {"path": path, "coordinateTransformations": [{"type": "scale", "scale": scales}]}
            for path in ("s0", "s1")
        ],
    }
    group.attrs.put(
        {"ome": {"version": version, "multiscales": [multiscale]}} if third
        else {"multiscales": [multiscale | {"version": version}]}
    )  # fmt: skip
    chunks = tuple(min(side, 16) for side in array.shape)
    write(path / "s0", array, chunks=chunks, zarr_format=3 if third else 2)
    write(path / "s1", array[..., ::2, ::2], chunks=chunks, zarr_format=3 if third else 2)
    return path


# -- arrays ---------------------------------------------------------------------------------------


@settings(max_examples=20)  # every chunk is a file
@given(
    array=stacks(most=5),
    chunks=st.tuples(*[st.integers(1, 5)] * 3),
    compressor=st.sampled_from(sorted(COMPRESSORS_2)),
    order=st.sampled_from("CF"),
    separator=st.sampled_from("./"),
)
def test_round_trip_of_version_2(
    array: np.ndarray, chunks: tuple[int, ...], compressor: str, order: Any, separator: Any,
    tmp_path: Path,
) -> None:  # fmt: skip
    path = tmp_path / "s.zarr"
    shutil.rmtree(path, ignore_errors=True)
    write(
        path, array, chunks=chunks, zarr_format=2, compressors=COMPRESSORS_2[compressor],
        order=order, chunk_key_encoding={"name": "v2", "separator": separator},
    )  # fmt: skip
    np.testing.assert_array_equal(read(path), array)


@settings(max_examples=20)  # every chunk is a file
@given(
    array=stacks(most=5),
    chunks=st.tuples(*[st.integers(1, 5)] * 3),
    compressor=st.sampled_from(sorted(COMPRESSORS_3)),
    shards=st.sampled_from([None, 2]),
)
def test_round_trip_of_version_3(
    array: np.ndarray, chunks: tuple[int, ...], compressor: str, shards: int | None, tmp_path: Path
) -> None:
    path = tmp_path / "s.zarr"
    shutil.rmtree(path, ignore_errors=True)
    chunks = tuple(min(a, b) for a, b in zip(chunks, array.shape, strict=True))
    more = {"shards": tuple(shards * side for side in chunks)} if shards else {}
    write(path / "volumes/raw", array, chunks=chunks, compressors=COMPRESSORS_3[compressor], **more)
    for location in (path, path / "volumes/raw"):
        np.testing.assert_array_equal(read(location), array)


def test_chunks_that_lie_elsewhere_are_no_missing_ones(
    tmp_path: Path, grey_stack: np.ndarray
) -> None:
    """Old writers nested chunks and did not say so: all of them would be read as 0."""
    nested = zarr.create_array(
        tmp_path / "s.zarr", shape=grey_stack.shape, dtype="u1", chunks=(2, 16, 16), zarr_format=2,
        chunk_key_encoding={"name": "v2", "separator": "/"},
    )  # fmt: skip
    nested[...] = grey_stack
    metadata = tmp_path / "s.zarr/.zarray"
    document = json.loads(metadata.read_text())
    assert document.pop("dimension_separator") == "/"
    metadata.write_text(json.dumps(document))
    line = refusal(tmp_path / "s.zarr")
    assert "dimension_separator" in line
    assert "0.0.0" in line
    change(metadata, dimension_separator="/")
    np.testing.assert_array_equal(read(tmp_path / "s.zarr"), grey_stack)


@pytest.mark.parametrize("other", ["c/1/2/0.partial", "c/7/7/7", "c/1/2/00", "1/2/0"])
def test_another_file_is_no_chunk(other: str, tmp_path: Path, grey_stack: np.ndarray) -> None:
    path = write(tmp_path / "s.zarr", grey_stack)
    (path / other).parent.mkdir(parents=True, exist_ok=True)
    (path / "c/1/2/0").rename(path / other)
    with open_stack(path) as opened:
        assert opened.warnings == ("1 of 27 chunks are not stored and read as 0",)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("ZYX", ""),
        (("row", "y", "x"), ""),
        ("XYZ", "its axes are x, y, z; write it in the order z, y, x"),
        (("channel", "y", "x"), "5 entries along the axis 'c'"),
    ],
)
@pytest.mark.parametrize("version", [2, 3])
def test_names_of_axes_are_heeded(
    names: tuple[str, ...], said: str, version: int, tmp_path: Path, grey_stack: np.ndarray
) -> None:
    """Of Zarr v3, and as xarray writes them in v2; what nobody knows says nothing."""
    path = write(tmp_path / "s.zarr", grey_stack, zarr_format=version)
    if version == 3:
        change(path / "zarr.json", dimension_names=list(names))
    else:
        zarr.open_array(path).attrs["_ARRAY_DIMENSIONS"] = list(names)
    if said:
        assert said in refusal(path)
    else:
        np.testing.assert_array_equal(read(path), grey_stack)


@pytest.mark.parametrize("version", [2, 3])
def test_two_axes_are_one_slice(version: int, tmp_path: Path, grey_stack: np.ndarray) -> None:
    path = write(tmp_path / "s.zarr", grey_stack[0], chunks=(16, 20), zarr_format=version)
    np.testing.assert_array_equal(read(path), grey_stack[:1])


def test_chunks_that_are_not_stored_are_told(tmp_path: Path, grey_stack: np.ndarray) -> None:
    path = write(tmp_path / "s.zarr", grey_stack, fill_value=7)
    with open_stack(path) as opened:
        assert opened.warnings == ()
    (path / "c/1/2/0").unlink()
    wanted = grey_stack.copy()
    wanted[2:4, 32:, :16] = 7
    np.testing.assert_array_equal(read(path), wanted)
    with open_stack(path) as opened:
        assert opened.warnings == ("1 of 27 chunks are not stored and read as 7",)


def test_deep_chunks_are_read_in_slabs_and_blocks(
    tmp_path: Path, grey_stack: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "s.zarr", grey_stack, chunks=(4, 16, 16))
    for limit in (2 * 40 * 48, 16 * 16 * 4, 1, 3 * 16 * 16 * 4):
        monkeypatch.setattr(stack, "SLAB_BYTES", limit)
        monkeypatch.setattr(zarr_array, "SLAB_BYTES", limit)
        np.testing.assert_array_equal(read(path), grey_stack)


# -- groups ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_full_resolution_of_ome_zarr(version: str, tmp_path: Path, grey_stack: np.ndarray) -> None:
    path = ome(tmp_path / "s.zarr", grey_stack, version=version)
    for location in (path, path / "s0"):
        np.testing.assert_array_equal(read(location), grey_stack)
        with open_stack(location) as opened:
            assert opened.voxel_size == (40, 4, 5)
    np.testing.assert_array_equal(read(path / "s1"), grey_stack[:, ::2, ::2])


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_one_time_and_one_channel(version: str, tmp_path: Path, grey_stack: np.ndarray) -> None:
    path = ome(tmp_path / "s.zarr", grey_stack[None, None], "tczyx", version=version)
    np.testing.assert_array_equal(read(path), grey_stack)
    with open_stack(path / "s0") as opened:
        assert opened.voxel_size == (40, 4, 5)


@pytest.mark.parametrize(
    ("unit", "size"), [("micrometer", (40000, 4000, 5000)), (None, None), ("parsec", None)]
)
def test_units_of_ome_zarr(
    unit: str | None, size: object, tmp_path: Path, grey_stack: np.ndarray
) -> None:
    with open_stack(ome(tmp_path / "s.zarr", grey_stack, unit=unit)) as opened:
        assert opened.voxel_size == size


@pytest.mark.parametrize(
    ("axes", "shape", "said"),
    [
        ("tczyx", (2, 1, 5, 40, 48), "2 entries along the axis 't'"),
        ("tczyx", (1, 3, 5, 40, 48), "3 entries along the axis 'c'"),
        ("czyx", (2, 5, 40, 48), "2 entries along the axis 'c'"),
        ("xyz", (5, 40, 48), "its axes are x, y, z"),
    ],
)
def test_other_axes_are_refused(
    axes: str, shape: tuple[int, ...], said: str, tmp_path: Path
) -> None:
    assert said in refusal(ome(tmp_path / "s.zarr", np.zeros(shape, np.uint8), axes))


def test_more_axes_without_ome_metadata_are_refused(tmp_path: Path, grey_stack: np.ndarray) -> None:
    path = write(tmp_path / "s.zarr", grey_stack[None], chunks=(1, 2, 16, 16))
    assert "(1, 5, 40, 48)" in refusal(path)


def test_names_of_dimensions_in_another_order_are_refused(
    tmp_path: Path, grey_stack: np.ndarray
) -> None:
    path = write(tmp_path / "s.zarr", grey_stack, dimension_names=("x", "y", "z"))
    assert "write it in the order z, y, x" in refusal(path)


def test_several_arrays_are_listed(tmp_path: Path, grey_stack: np.ndarray) -> None:
    write(tmp_path / "s.zarr/volumes/raw", grey_stack)
    write(tmp_path / "s.zarr/volumes/ids", grey_stack)
    assert "volumes/ids, volumes/raw" in refusal(tmp_path / "s.zarr")
    (tmp_path / "e.zarr").mkdir()
    assert "holds no array" in refusal(tmp_path / "e.zarr")


def test_bioformats2raw_layout(tmp_path: Path, grey_stack: np.ndarray) -> None:
    group = zarr.create_group(tmp_path / "s.zarr", zarr_format=2)
    group.attrs["bioformats2raw.layout"] = 3
    ome(tmp_path / "s.zarr/0", grey_stack[None, None], "tczyx", version="0.4")
    np.testing.assert_array_equal(read(tmp_path / "s.zarr"), grey_stack)
    ome(tmp_path / "s.zarr/1", grey_stack, version="0.4")
    assert "several images" in refusal(tmp_path / "s.zarr")


def test_our_own_store_can_be_ingested(
    tmp_path: Path, grey_stack: np.ndarray, id_stack: np.ndarray
) -> None:
    pair = [write(tmp_path / f"{n}.zarr", each) for n, each in enumerate((grey_stack, id_stack))]
    store = tmp_path / "a" / "volume.zarr"
    ingest_volume("a", Source(pair[0], {"neurites": pair[1]}, (30.0, 8.0, 9.0)), store)
    again = Source(store, {"neurites": store / "labels/neurites"})
    volume = ingest_volume("b", again, tmp_path / "b" / "volume.zarr")
    assert volume.info.voxel_size == (30, 8, 9)
    np.testing.assert_array_equal(volume.labels("neurites", 2), id_stack[2])
    np.testing.assert_array_equal(read(tmp_path / "b" / "volume.zarr"), grey_stack)


# -- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "values", "said"),
    [
        (3, {"shape": [10**12, 10**12, 10**12]}, "header is damaged"),
        (3, {"shape": [10**12, 40, 48]}, "header is damaged"),
        (2, {"shape": [5, 10**6, 10**6]}, "header is damaged"),
        (3, {"shape": [0, 40, 48]}, "holds no voxel"),
        (3, {"shape": [5, -40, 48]}, "whole numbers"),
        (2, {"shape": [5, 40.5, 48]}, "whole numbers"),
        (2, {"shape": None}, "whole numbers"),
        (3, {"shape": [5, 40]}, "different axes"),
        (2, {"chunks": [0, 16, 16]}, "1 voxel to"),
        (2, {"chunks": [2048, 2048, 2048]}, "smaller chunks"),
        (3, {"chunk_grid": {"name": "regular"}}, "whole numbers"),
        (3, {"chunk_grid": []}, "whole numbers"),
        (3, {"data_type": "string"}, "is not read"),
        (3, {"data_type": {"name": "numpy.datetime64"}}, "is not read"),
        (2, {"dtype": "|O"}, "is not read"),
        (2, {"dtype": [["a", "<u1"]]}, "is not read"),
        (2, {"filters": [{"id": "pickle"}]}, "codec 'pickle' is not read"),
        (2, {"compressor": {"id": "pickle"}}, "codec 'pickle' is not read"),
        (2, {"compressor": "zlib"}, "cannot be read as Zarr"),
        (3, {"codecs": [{"name": "numcodecs.pickle"}]}, "codec 'numcodecs.pickle' is not read"),
        (3, {"codecs": [{"name": "sharding_indexed", "configuration": {
            "chunk_shape": [1, 8, 8], "codecs": [{"name": "numcodecs.pickle"}]}}]},
         "codec 'numcodecs.pickle' is not read"),
        (3, {"codecs": "bytes"}, "codec '?' is not read"),
        (3, {"zarr_format": 4}, "cannot be read as Zarr"),
    ],
)  # fmt: skip
def test_metadata_are_refused_before_the_library_sees_them(
    version: int, values: dict[str, Any], said: str, tmp_path: Path, grey_stack: np.ndarray
) -> None:
    path = write(tmp_path / "s.zarr", grey_stack, zarr_format=version)
    change(path / ("zarr.json" if version == 3 else ".zarray"), **values)
    assert said in refusal(path)


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_nothing_is_unpickled(tmp_path: Path, grey_stack: np.ndarray) -> None:
    path = write(tmp_path / "s.zarr", grey_stack, zarr_format=2, compressors=None)
    for chunk in path.glob("[0-9]*"):
        chunk.write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    change(path / ".zarray", filters=[{"id": "pickle"}])
    refusal(path)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("where", ["../../other.zarr", "/etc", "", 7])
def test_levels_outside_of_the_group_are_refused(
    where: Any, tmp_path: Path, grey_stack: np.ndarray
) -> None:
    write(tmp_path / "other.zarr", grey_stack)
    path = ome(tmp_path / "a" / "s.zarr", grey_stack)
    multiscales = [{"datasets": [{"path": where}]}]
    change(path / "zarr.json", attributes={"ome": {"multiscales": multiscales}})
    refusal(path)


def test_a_level_that_is_gone_is_refused(tmp_path: Path, grey_stack: np.ndarray) -> None:
    path = ome(tmp_path / "s.zarr", grey_stack)
    shutil.rmtree(path / "s0")
    assert "full resolution 's0' is missing" in refusal(path)


@pytest.mark.parametrize("content", ["", "{", "[]", "[" * 10**5, "\x00\xff", "<html>"])
def test_damaged_metadata_are_refused(content: str, tmp_path: Path, grey_stack: np.ndarray) -> None:
    for version, name in ((3, "zarr.json"), (2, ".zarray")):
        path = write(tmp_path / f"{version}.zarr", grey_stack, zarr_format=version)
        (path / name).write_text(content)
        refusal(path)


@pytest.mark.parametrize(
    ("version", "compressor"),
    [*((2, each) for each in COMPRESSORS_2), *((3, each) for each in COMPRESSORS_3)],
)
def test_a_truncated_chunk_is_refused(
    version: int, compressor: str, tmp_path: Path, grey_stack: np.ndarray
) -> None:
    codec = (COMPRESSORS_2 if version == 2 else COMPRESSORS_3)[compressor]
    path = write(tmp_path / "s.zarr", grey_stack, zarr_format=version, compressors=codec)
    chunk = path / ("1.1.1" if version == 2 else "c/1/1/1")
    content = chunk.read_bytes()
    for length in [*range(0, len(content), len(content) // 12), len(content) - 1]:
        chunk.write_bytes(content[:length])
        assert ("chunk" if compressor == "blosc" else "slice 2") in refusal(path), length


def test_a_truncated_shard_is_refused(tmp_path: Path, grey_stack: np.ndarray) -> None:
    path = write(tmp_path / "s.zarr", grey_stack, chunks=(1, 8, 8), shards=(5, 40, 48))
    shard = path / "c/0/0/0"
    content = shard.read_bytes()
    for length in [*range(0, len(content), len(content) // 12), len(content) - 1]:
        shard.write_bytes(content[:length])
        assert "slice" in refusal(path), length


def test_identity_follows_chunks(tmp_path: Path, grey_stack: np.ndarray) -> None:
    path = write(tmp_path / "s.zarr", grey_stack)
    first = open_stack(path).identity()
    assert open_stack(shutil.copytree(path, tmp_path / "t.zarr")).identity() == first
    (path / "c/0/0/0").unlink()
    assert open_stack(path).identity() != first


@pytest.mark.parametrize("whole", [True, False])
def test_a_link_that_leads_out_is_not_followed(
    whole: bool, tmp_path: Path, grey_stack: np.ndarray
) -> None:
    path = write(tmp_path / "em.zarr", grey_stack, compressors=None)
    chunk = path / "c" / "0" / "0" / "0"
    (tmp_path / "private").write_bytes(chunk.read_bytes())
    chunk.unlink()
    chunk.symlink_to(tmp_path / "private")
    refused = pytest.raises(InputError, match="c/0/0/0 is a link that leads out of it")
    with refused, open_stack(path, whole=whole) as found:
        found.region(0, slice(0, 4), slice(0, 4))
    chunk.unlink()
    shutil.copy(tmp_path / "private", path / "c" / "0" / "0" / "other")
    chunk.symlink_to("other")
    with open_stack(path, whole=whole) as found:
        found.region(0, slice(0, 4), slice(0, 4))


@pytest.mark.parametrize("whole", [True, False])
def test_a_folder_that_leads_out_is_not_entered(
    whole: bool, tmp_path: Path, grey_stack: np.ndarray
) -> None:
    path = write(tmp_path / "em.zarr", grey_stack, compressors=None)
    (path / "c" / "0").rename(tmp_path / "private")
    (path / "c" / "0").symlink_to(tmp_path / "private")
    refused = pytest.raises(InputError, match="c/0 is a link that leads out of it")
    with refused, open_stack(path, whole=whole) as found:
        found.region(0, slice(0, 4), slice(0, 4))


def test_a_shard_of_chunks_beyond_all_bounds_is_refused(
    tmp_path: Path, grey_stack: np.ndarray
) -> None:
    path = write(tmp_path / "em.zarr", grey_stack, shards=(4, 16, 16))
    grid = {"name": "regular", "configuration": {"chunk_shape": [1 << 40, 1 << 20, 16]}}
    change(path / "zarr.json", chunk_grid=grid)
    assert "smaller shards" in refusal(path)
