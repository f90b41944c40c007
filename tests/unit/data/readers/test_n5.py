from __future__ import annotations

import gzip
import json
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emsam.data.readers import open_stack, stack
from tests.n5 import CODECS, write_n5
from tests.stacks import read, refusal, stacks


def change(folder: Path, **attributes: Any) -> None:
    path = folder / "attributes.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | attributes))


@given(
    array=stacks(),
    block=st.tuples(*[st.integers(1, 5)] * 3),
    codec=st.sampled_from(sorted(CODECS)),
    padded=st.booleans(),
)
def test_round_trip(
    array: np.ndarray, block: tuple[int, ...], codec: str, padded: bool, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "s.n5", ignore_errors=True)
    write_n5(tmp_path / "s.n5" / "volumes" / "raw", array, block, codec, padded=padded)
    for location in (tmp_path / "s.n5/volumes/raw", tmp_path / "s.n5"):
        np.testing.assert_array_equal(read(location), array)


def test_a_block_is_the_bytes_of_the_specification(tmp_path: Path) -> None:
    # https://github.com/saalfeldlab/n5: x, y, z = 2, 3, 1, uint16, raw
    folder = tmp_path / "s.n5"
    (folder / "0" / "0").mkdir(parents=True)
    attributes = {"dimensions": [2, 3, 1], "blockSize": [2, 3, 1], "dataType": "uint16",
                  "compression": {"type": "raw"}}  # fmt: skip
    (folder / "attributes.json").write_text(json.dumps(attributes))
    header = bytes([0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 1])
    (folder / "0" / "0" / "0").write_bytes(header + bytes([0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 1, 6]))
    np.testing.assert_array_equal(read(folder), [[[1, 2], [3, 4], [5, 262]]])


def test_two_axes_and_old_attributes(tmp_path: Path, grey_stack: np.ndarray) -> None:
    folder = write_n5(tmp_path / "s.n5", grey_stack[0], (16, 20))
    change(folder, compression=None, compressionType="gzip")
    attributes = json.loads((folder / "attributes.json").read_text())
    del attributes["compression"]
    (folder / "attributes.json").write_text(json.dumps(attributes))
    np.testing.assert_array_equal(read(folder), grey_stack[:1])


def test_blocks_that_are_not_stored_are_0_and_told(tmp_path: Path, grey_stack: np.ndarray) -> None:
    folder = write_n5(tmp_path / "s.n5", grey_stack)
    (folder / "1" / "2" / "0").unlink()
    wanted = grey_stack.copy()
    wanted[:2, 32:, 16:32] = 0
    np.testing.assert_array_equal(read(folder), wanted)
    with open_stack(folder) as opened:
        assert opened.warnings == ("1 of 27 chunks are not stored and read as 0",)


@pytest.mark.parametrize("other", ["1/2/0.tmp", "1/2/9"])
def test_another_file_is_no_block(other: str, tmp_path: Path, grey_stack: np.ndarray) -> None:
    folder = write_n5(tmp_path / "s.n5", grey_stack)
    (folder / "1/2/0").rename(folder / other)
    with open_stack(folder) as opened:
        assert opened.warnings == ("1 of 27 chunks are not stored and read as 0",)


def test_axes_in_another_order_are_refused(tmp_path: Path, grey_stack: np.ndarray) -> None:
    folder = write_n5(tmp_path / "s.n5", grey_stack, axes=["x", "y", "z"])
    np.testing.assert_array_equal(read(folder), grey_stack)
    change(folder, axes=["z", "y", "x"])
    assert "write it in the order z, y, x" in refusal(folder)
    change(folder, axes=["x", "y", "c"])
    assert "along the axis 'c'" in refusal(folder)


def test_full_resolution_of_a_multiscale_group(tmp_path: Path, grey_stack: np.ndarray) -> None:
    group = tmp_path / "s.n5" / "em"
    write_n5(group / "s0", grey_stack)
    write_n5(group / "s1", grey_stack[:, ::2, ::2])
    (group / "attributes.json").write_text(json.dumps(
        {"pixelResolution": {"dimensions": [4.0, 5.0, 0.04], "unit": "um"}}
    ))  # fmt: skip
    np.testing.assert_array_equal(read(group), grey_stack)
    with open_stack(group) as opened:
        assert opened.voxel_size == (40, 5000, 4000)
    with open_stack(group / "s1") as opened:
        assert opened.voxel_size is None
    assert "em/s0, em/s1" in refusal(tmp_path / "s.n5")


@pytest.mark.parametrize(
    ("attributes", "size"),
    [
        ({"resolution": [4, 5, 40], "units": ["nm", "nm", "nm"]}, (40, 5, 4)),
        ({"resolution": [4, 5, 40]}, None),
        ({"resolution": [4, 5], "units": ["nm", "nm"]}, None),
        ({"resolution": ["4", 5, 40], "units": ["nm", "nm", "nm"]}, None),
        ({"pixelResolution": {"dimensions": [4, 5, 40], "unit": "nm"}}, (40, 5, 4)),
        (
            {
                "pixelResolution": {"dimensions": [4, 5, 40], "unit": "nm"},
                "downsamplingFactors": [2, 2, 1],
            },
            (40, 10, 8),
        ),
        ({"pixelResolution": {"dimensions": [4, 5, 40], "unit": "pixel"}}, None),
        ({"pixelResolution": {"dimensions": [4, 5, 40]}}, None),
    ],
)
def test_a_voxel_size_needs_units(
    attributes: dict[str, Any], size: object, tmp_path: Path, grey_stack: np.ndarray
) -> None:
    folder = write_n5(tmp_path / "s.n5", grey_stack, **attributes)
    with open_stack(folder) as opened:
        assert opened.voxel_size == size


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"dimensions": [0, 40, 5]}, "holds no voxel"),
        ({"dimensions": [10**12, 10**12, 10**12]}, "header is damaged"),
        ({"dimensions": [48, 40, 10**12]}, "header is damaged"),
        ({"dimensions": [48, -1, 5]}, "whole numbers"),
        ({"dimensions": "48"}, "whole numbers"),
        ({"dimensions": [48, 40, 5, 1]}, "(1, 5, 40, 48)"),
        ({"blockSize": [16, 16]}, "it is damaged"),
        ({"blockSize": [0, 16, 2]}, "1 voxel to"),
        ({"blockSize": [2048, 2048, 2048]}, "smaller chunks"),
        ({"dataType": "object"}, "dataType 'object' is not read"),
        ({"dataType": ["uint8"]}, "is not read"),
        ({"compression": {"type": "jpeg"}}, "compression 'jpeg' is not read"),
        ({"compression": {"type": ["gzip"]}}, "is not read"),
    ],
)
def test_other_attributes_are_refused(
    attributes: dict[str, Any], said: str, tmp_path: Path, grey_stack: np.ndarray
) -> None:
    folder = write_n5(tmp_path / "s.n5", grey_stack)
    change(folder, **attributes)
    assert said in refusal(folder)


@pytest.mark.parametrize("content", ["{", "[1]", '{"dimensions": 1e400}', "\x00"])
def test_damaged_attributes_are_refused(
    content: str, tmp_path: Path, grey_stack: np.ndarray
) -> None:
    folder = write_n5(tmp_path / "s.n5", grey_stack)
    (folder / "attributes.json").write_text(content)
    refusal(folder)


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_a_truncated_block_is_refused(codec: str, tmp_path: Path, grey_stack: np.ndarray) -> None:
    folder = write_n5(tmp_path / "s.n5", grey_stack, codec=codec)
    path = folder / "1" / "1" / "1"
    content = path.read_bytes()
    for length in range(0, len(content), len(content) // 12):
        path.write_bytes(content[:length])
        assert "slice 2" in refusal(folder)


@pytest.mark.parametrize("values", ["alike", "noise"])
def test_an_lz4_block_of_several_parts_comes_back(values: str, tmp_path: Path) -> None:
    array = np.zeros((4, 200, 200), np.uint8)
    if values == "noise":
        array[:] = np.random.default_rng(0).integers(0, 256, array.shape)
    folder = write_n5(tmp_path / "s.n5", array, (4, 200, 200), "lz4")
    assert np.array_equal(read(folder), array)


def test_a_block_cannot_unpack_to_more_than_it_says(tmp_path: Path, grey_stack: np.ndarray) -> None:
    folder = write_n5(tmp_path / "s.n5", grey_stack)
    path = folder / "0" / "0" / "0"
    header = path.read_bytes()[:16]
    path.write_bytes(header + gzip.compress(bytes(1 << 24)))
    assert "slice 0" in refusal(folder)
    path.write_bytes(struct.pack(">HHIII", 0, 3, 2**31, 2**31, 2) + gzip.compress(b""))
    assert "slice 0" in refusal(folder)
    path.write_bytes(struct.pack(">HHIII", 0, 3, 1, 1, 1) + gzip.compress(b"\x01"))
    assert "slice 0" in refusal(folder)


def test_deep_blocks_are_read_in_slabs(
    tmp_path: Path, grey_stack: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack, "SLAB_BYTES", 2 * 40 * 48)
    folder = write_n5(tmp_path / "s.n5", grey_stack, (4, 16, 16))
    np.testing.assert_array_equal(read(folder), grey_stack)


def test_identity_follows_blocks(tmp_path: Path, grey_stack: np.ndarray) -> None:
    folder = write_n5(tmp_path / "s.n5", grey_stack)
    shutil.copytree(folder, tmp_path / "copy")
    first = open_stack(folder).identity()
    assert open_stack(tmp_path / "copy").identity() == first
    (folder / "0" / "0" / "0").unlink()
    assert open_stack(folder).identity() != first


def test_links_that_lead_out_and_numbers_beyond_all_bounds_are_refused(
    tmp_path: Path, grey_stack: np.ndarray
) -> None:
    folder = write_n5(tmp_path / "em.n5", grey_stack)
    block = folder / "0" / "0" / "0"
    shutil.move(block, tmp_path / "private")
    block.symlink_to(tmp_path / "private")
    assert "0/0/0 is a link that leads out of it" in refusal(folder)
    block.unlink()
    block.symlink_to("/dev/zero")
    assert "link" in refusal(folder)
    change(folder, dimensions=[10**400] * 3)
    assert "its header is damaged" in refusal(folder)
