from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
from hypothesis import given

from emsam.data.readers import open_stack
from tests.stacks import never_half, offered, read, refusal, stacks

MODES = ("i1", "i2", "f4", "u2", "f2")
"""dtypes of modes 0, 1, 2, 6 and 12."""
STAMP, SIGNED = 1146047817, 1


def write(path: Path, stack: np.ndarray, **header: Any) -> Path:
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(stack)
        if stack.ndim == 3:
            file.set_volume()
        for field, value in header.items():
            file.header[field] = value
    return path


@given(array=stacks(MODES))
def test_round_trip(array: np.ndarray, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # statistics of extreme values overflow
        path = write(tmp_path / "s.mrc", array)
    got = read(path)
    np.testing.assert_array_equal(got, array)
    assert got.dtype == array.dtype.newbyteorder("=")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", MODES)
def test_both_byte_orders(order: str, dtype: str, tmp_path: Path, grey_stack: np.ndarray) -> None:
    array = (grey_stack // 2).astype(order + dtype)
    path = write(tmp_path / "s.rec", array, cella=(480, 320, 150))
    if dtype != "i1":
        stamp = path.read_bytes()[212]
        assert stamp == (0x44 if order == "<" else 0x11)
    np.testing.assert_array_equal(read(path), array)
    assert offered(path) == (3, 0.8, 1)


def test_a_two_dimensional_image_is_one_slice(tmp_path: Path, grey_stack: np.ndarray) -> None:
    path = write(tmp_path / "s.mrc", grey_stack[0].astype(np.uint16))
    np.testing.assert_array_equal(read(path), grey_stack[:1])


def test_an_extended_header_is_skipped(tmp_path: Path, grey_stack: np.ndarray) -> None:
    path = tmp_path / "s.mrc"
    with mrcfile.new(path) as file:
        file.set_data(grey_stack.astype(np.int16))
        file.set_extended_header(np.arange(77, dtype=np.uint8))
    np.testing.assert_array_equal(read(path), grey_stack)


@pytest.mark.parametrize(("flags", "dtype"), [(0, "u1"), (SIGNED, "i1")])
def test_imod_says_whether_bytes_are_signed(
    flags: int, dtype: str, tmp_path: Path, grey_stack: np.ndarray
) -> None:
    path = write(tmp_path / "s.mrc", grey_stack.view(np.int8))
    content = bytearray(path.read_bytes())
    content[152:160] = np.array([STAMP, flags], "<i4").tobytes()
    path.write_bytes(content)
    np.testing.assert_array_equal(read(path), grey_stack.view(dtype))


def test_the_voxel_size_of_who_does_not_know_is_not_offered(
    tmp_path: Path, grey_stack: np.ndarray
) -> None:
    grey = grey_stack.astype(np.int16)
    assert offered(write(tmp_path / "a.mrc", grey)) is None
    assert offered(write(tmp_path / "b.mrc", grey, cella=(48, 40, 5))) is None  # 1 Å
    assert offered(write(tmp_path / "c.mrc", grey, cella=(480, 400, 0))) is None
    assert offered(write(tmp_path / "d.mrc", grey, cella=(480, 400, 50), mz=0)) is None


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ({"mode": 4}, "mode 4 is not read"),
        ({"mode": 3}, "mode 3 is not read"),
        ({"mode": 101}, "mode 101 is not read"),
        ({"mapc": 3, "maps": 1}, "axes are in the order (3, 2, 1)"),
        ({"map": b"XYZ "}, "lacks the letters MAP"),
        ({"nx": 0}, "holds no voxel"),
        ({"nx": -5}, "holds no voxel"),
        ({"nx": 10**6, "ny": 10**6}, "header is damaged"),
        ({"nz": 10**4, "mz": 10**4}, "it is truncated"),
        ({"nsymbt": -1024}, "it is truncated"),
        ({"nsymbt": 2**31 - 1}, "it is truncated"),
        ({"ispg": 401, "nz": 4, "mz": 2}, "(2, 2, 40, 48)"),
        ({"machst": (7, 7, 7, 7)}, "cannot be read as MRC"),
    ],
)
def test_other_headers_are_refused(
    header: dict[str, Any], said: str, tmp_path: Path, grey_stack: np.ndarray
) -> None:
    path = write(tmp_path / "s.mrc", grey_stack.astype(np.int16))
    content = bytearray(path.read_bytes())
    head = np.frombuffer(content, mrcfile.dtypes.HEADER_DTYPE, 1)
    for field, value in header.items():
        head[field] = value
    path.write_bytes(content)
    assert said in refusal(path)


def test_slices_beyond_those_of_the_header_are_told(tmp_path: Path, grey_stack: np.ndarray) -> None:
    path = write(tmp_path / "s.mrc", grey_stack.astype(np.uint16), nz=3, mz=3)
    with open_stack(path) as stack:
        assert stack.shape[0] == 3
        assert stack.warnings == ("its header says 3 slices, the file has 2 more",)


def test_a_truncated_file_is_refused(tmp_path: Path, grey_stack: np.ndarray) -> None:
    path = write(tmp_path / "cut.mrc", grey_stack.astype(np.int16))
    never_half(path, path, grey_stack)
