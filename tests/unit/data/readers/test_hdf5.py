from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emsam.data.readers import hdf5, open_stack, stack
from tests.stacks import never_half, read, refusal, stacks


def write(path: Path, inner: str, array: Any, **options: Any) -> Path:
    with h5py.File(path, "a") as file:
        file.create_dataset(inner, data=array, **options)
    return path


@given(array=stacks(), chunked=st.booleans(), compression=st.sampled_from([None, "gzip", "lzf"]))
def test_round_trip(
    array: np.ndarray, chunked: bool, compression: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "s.h5"
    path.unlink(missing_ok=True)
    chunks = tuple(max(1, side // 2) for side in array.shape) if chunked else None
    write(path, "a/b", array, chunks=chunks, compression=compression)
    for location in (f"{path}:/a/b", f"{path}:a/b", f"{path}:/a", path):
        np.testing.assert_array_equal(read(location), array)


@pytest.mark.parametrize("suffix", ["h5", "hdf", "hdf5", "H5"])
def test_snemi3d_layout(suffix: str, tmp_path: Path, grey_stack: np.ndarray) -> None:
    path = write(tmp_path / f"train-input.{suffix}", "main", grey_stack)
    np.testing.assert_array_equal(read(path), grey_stack)
    assert open_stack(path).voxel_size is None


def test_cremi_layout(tmp_path: Path, grey_stack: np.ndarray, id_stack: np.ndarray) -> None:
    path = write(tmp_path / "sample_A.hdf", "volumes/raw", grey_stack, chunks=(2, 16, 16))
    ids = id_stack.astype(np.uint64) + (1 << 40)
    write(path, "volumes/labels/neuron_ids", ids, compression="gzip")
    write(path, "annotations/locations", np.zeros((7, 3)))
    with h5py.File(path, "a") as file:
        file["volumes/raw"].attrs["resolution"] = np.array([40.0, 4.0, 4.0])
    np.testing.assert_array_equal(read(f"{path}:/volumes/raw"), grey_stack)
    np.testing.assert_array_equal(read(f"{path}:/volumes/labels"), ids)
    with open_stack(f"{path}:/volumes/raw") as opened:
        assert opened.voxel_size == (40, 4, 4)
    line = refusal(path)
    assert "/volumes/raw (5, 40, 48) uint8" in line
    assert "/volumes/labels/neuron_ids" in line


@pytest.mark.parametrize("resolution", [[40.0, 4.0], "fine", [0, 4, 4], [np.nan, 4, 4], [-1, 4, 4]])
def test_a_resolution_that_is_none_is_not_offered(resolution: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "s.h5", "main", np.zeros((2, 3, 4), np.uint8))
    with h5py.File(path, "a") as file:
        file["main"].attrs["resolution"] = resolution
    with open_stack(path) as opened:
        assert opened.voxel_size is None


@pytest.mark.parametrize(
    ("units", "size"),
    [("um", (30, 8, 8)), (b"nm", (0.03, 0.008, 0.008)), (["um"] * 3, (30, 8, 8)), ("pixel", None)],
)
@pytest.mark.parametrize("attribute", ["unit", "units"])
def test_a_resolution_is_in_its_units(
    attribute: str, units: Any, size: Any, tmp_path: Path
) -> None:
    path = write(tmp_path / "s.h5", "main", np.zeros((2, 3, 4), np.uint8))
    with h5py.File(path, "a") as file:
        file["main"].attrs["resolution"] = [0.03, 0.008, 0.008]
        file["main"].attrs[attribute] = units
    with open_stack(path) as opened:
        assert opened.voxel_size == size


def test_what_was_never_written_is_told(tmp_path: Path, grey_stack: np.ndarray) -> None:
    path = tmp_path / "s.h5"
    with h5py.File(path, "w") as file:
        chunked = file.create_dataset(
            "chunked", grey_stack.shape, "u1", chunks=(1, 40, 48), fillvalue=7
        )
        chunked[:3] = grey_stack[:3]
        file.create_dataset("block", grey_stack.shape, "u1")
    with open_stack(f"{path}:/chunked") as opened:
        assert opened.warnings == ("2 of 5 chunks are not stored and read as 7",)
    with open_stack(f"{path}:/block") as opened:
        assert opened.warnings == ("nothing was ever written to /block; it is read as 0",)
    write(path, "whole", grey_stack, chunks=(2, 16, 16))
    with open_stack(f"{path}:/whole") as opened:
        assert opened.warnings == ()


def _dimension_labels(dataset: h5py.Dataset, names: str) -> None:
    for dimension, name in zip(dataset.dims, names, strict=True):
        dimension.label = name


def _axistags(dataset: h5py.Dataset, names: str) -> None:
    """As vigra and ilastik write them."""
    dataset.attrs["axistags"] = json.dumps({"axes": [{"key": name} for name in names]})


@pytest.mark.parametrize("say", [_dimension_labels, _axistags])
def test_axes_in_another_order_are_refused(
    say: Callable[[h5py.Dataset, str], None], tmp_path: Path, grey_stack: np.ndarray
) -> None:
    path = write(tmp_path / "s.h5", "main", grey_stack)
    for names, said in (
        ("zyx", ""),
        ("xyz", "its axes are x, y, z; write it in the order z, y, x"),
        ("cyx", "5 entries along the axis 'c'"),
        ("yxc", "48 entries along the axis 'c'"),
    ):
        with h5py.File(path, "a") as file:
            say(file["main"], names)
        if said:
            assert said in refusal(path)
        else:
            np.testing.assert_array_equal(read(path), grey_stack)
    write(path, "flat", grey_stack[0, :, :, None])
    with h5py.File(path, "a") as file:
        say(file["flat"], "yxc")
    assert "its axes are y, x, c; write it in the order z, y, x" in refusal(f"{path}:/flat")


def test_a_two_dimensional_data_set_is_one_slice(tmp_path: Path, grey_stack: np.ndarray) -> None:
    path = write(tmp_path / "s.h5", "main", grey_stack[0])
    np.testing.assert_array_equal(read(path), grey_stack[:1])


def test_a_soft_link_in_the_file_is_followed(tmp_path: Path, grey_stack: np.ndarray) -> None:
    path = write(tmp_path / "s.h5", "a/main", grey_stack)
    with h5py.File(path, "a") as file:
        file["b/near"] = h5py.SoftLink("/a/main")
        file["b/round"] = h5py.SoftLink("/b/round")
        file["b/nowhere"] = h5py.SoftLink("/c")
    np.testing.assert_array_equal(read(f"{path}:/b/near"), grey_stack)
    assert "in circles" in refusal(f"{path}:/b/round")
    assert "no data set /b/nowhere" in refusal(f"{path}:/b/nowhere")


def test_voxels_in_other_files_are_refused(tmp_path: Path, grey_stack: np.ndarray) -> None:
    other = write(tmp_path / "other.h5", "main", grey_stack)
    (tmp_path / "secret").write_bytes(bytes(range(24)))
    path = tmp_path / "s.h5"
    layout = h5py.VirtualLayout(grey_stack.shape, np.uint8)
    layout[:] = h5py.VirtualSource(other, "main", grey_stack.shape)
    with h5py.File(path, "w") as file:
        file["linked"] = h5py.ExternalLink(other, "/main")
        file["hop"] = h5py.SoftLink("/linked")
        file.create_virtual_dataset("virtual", layout)
        raw = [(str(tmp_path / "secret"), 0, 24)]
        file.create_dataset("raw", (2, 3, 4), np.uint8, external=raw)
    assert "link to another file" in refusal(f"{path}:/linked")
    assert "link to another file" in refusal(f"{path}:/hop")
    assert "other files" in refusal(f"{path}:/virtual")
    assert "other files" in refusal(f"{path}:/raw")


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((2, 3, 4, 5), np.uint8), "(2, 3, 4, 5)"),
        (np.zeros((0, 3, 4), np.uint8), "holds no voxel"),
        (np.zeros(5, np.uint8), "(5,)"),
        (np.zeros((2, 3, 4), [("a", "u1"), ("b", "f4")]), "plain numbers"),
        (np.array([[[b"one"]]], dtype=object), "plain numbers"),
        (np.zeros((2, 3, 4), np.complex64), "plain numbers"),
        (h5py.Empty("u1"), "plain numbers"),
    ],
    ids=["4D", "empty", "1D", "compound", "object", "complex", "null"],
)
def test_other_data_sets_are_refused(array: Any, said: str, tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    dtype = {"dtype": h5py.string_dtype()} if array.dtype.kind == "O" else {}
    write(path, "main", array, **dtype)
    assert said in refusal(f"{path}:/main")


def test_an_absurd_size_is_refused_before_anything_is_allocated(tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("long", (10**12, 64, 64), np.uint8, chunks=(1, 64, 64))
        file.create_dataset("wide", (4, 10**6, 10**6), np.uint8, chunks=(1, 64, 64))
        file.create_dataset("chunk", (2000, 2000, 2000), np.uint8, chunks=(1500, 1000, 1000))
    assert "header is damaged" in refusal(f"{path}:/long")
    assert "header is damaged" in refusal(f"{path}:/wide")
    assert "smaller chunks" in refusal(f"{path}:/chunk")


def test_a_file_with_nothing_to_read_says_what_it_has(tmp_path: Path) -> None:
    path = write(tmp_path / "s.h5", "table", np.zeros((3, 3, 3, 3), np.uint8))
    assert "/table (3, 3, 3, 3) uint8" in refusal(path)
    assert "no data set /main" in refusal(f"{path}:/main")


@pytest.mark.parametrize("options", [{}, {"chunks": (2, 16, 16), "compression": "gzip"}])
def test_a_truncated_file_is_refused(
    options: dict[str, Any], tmp_path: Path, grey_stack: np.ndarray
) -> None:
    path = write(tmp_path / "cut.h5", "main", grey_stack, **options)
    never_half(path, f"{path}:/main", grey_stack)


def test_a_damaged_chunk_is_refused_by_slice(tmp_path: Path, grey_stack: np.ndarray) -> None:
    path = write(tmp_path / "s.h5", "main", grey_stack, chunks=(1, 40, 48), compression="gzip")
    with h5py.File(path) as file:
        where = file["main"].id.get_chunk_info(3)
    content = bytearray(path.read_bytes())
    content[where.byte_offset : where.byte_offset + where.size] = bytes(where.size)
    path.write_bytes(content)
    assert "slice 3" in refusal(path)


def test_deep_chunks_are_read_in_slabs(
    tmp_path: Path, grey_stack: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "s.h5", "main", grey_stack, chunks=(4, 40, 48))
    monkeypatch.setattr(stack, "SLAB_BYTES", 2 * 40 * 48)
    assert list(hdf5.slabs(5, 4, 40 * 48)) == [(0, 2), (2, 4), (4, 5)]
    np.testing.assert_array_equal(read(path), grey_stack)


def test_the_same_data_set_has_one_identity(tmp_path: Path, grey_stack: np.ndarray) -> None:
    path = write(tmp_path / "s.h5", "main", grey_stack)
    identities = [open_stack(where).identity() for where in (path, f"{path}:/main")]
    assert identities[0] == identities[1]
    write(path, "more", grey_stack)
    assert open_stack(f"{path}:/main").identity() != identities[0]
    assert open_stack(f"{path}:/more").identity() != open_stack(f"{path}:/main").identity()
