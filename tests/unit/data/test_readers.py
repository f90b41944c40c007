from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from emsam.data.readers import open_stack
from emsam.errors import InputError

Writer = Callable[[Path, np.ndarray], None]


def read(path: Path) -> np.ndarray:
    with open_stack(path) as stack:
        planes = list(stack)
        assert stack.shape == (len(planes), *planes[0].shape)
        assert all(plane.dtype.isnative for plane in planes)
        return np.stack(planes)


def read_or_refusal(path: Path) -> tuple[np.ndarray | None, str]:
    """The stack, or why it was refused; any other exception is a bug."""
    try:
        return read(path), ""
    except InputError as error:
        return None, str(error)


def whole(**options: Any) -> Writer:
    return lambda path, stack: tifffile.imwrite(path, stack, photometric="minisblack", **options)


def paged(**options: Any) -> Writer:
    """One page after the other, as a writer does that never holds the stack."""

    def write(path: Path, stack: np.ndarray) -> None:
        with tifffile.TiffWriter(path) as writer:
            for plane in stack:
                writer.write(plane, photometric="minisblack", contiguous=False, **options)

    return write


def imagej_behind_one_page(path: Path, stack: np.ndarray) -> None:
    """ImageJ writes large stacks as one block behind a single page."""
    with tifffile.TiffWriter(path, imagej=True) as writer:
        metadata = {"axes": "ZYX"}
        writer.write(stack, photometric="minisblack", truncate=True, metadata=metadata)


def pillow(path: Path, stack: np.ndarray) -> None:
    first, *others = [Image.fromarray(plane) for plane in stack]
    first.save(path, save_all=True, append_images=others)


WRITERS: dict[str, Writer] = {
    "contiguous": whole(),
    "no metadata": whole(metadata=None),
    "big-endian": whole(byteorder=">"),
    "bigtiff": whole(bigtiff=True),
    "zlib": whole(compression="zlib"),
    "lzw": whole(compression="lzw"),
    "tiled": whole(tile=(16, 16)),
    "strips": whole(rowsperstrip=7),
    "imagej": whole(imagej=True, metadata={"axes": "ZYX"}),
    "imagej big-endian": whole(imagej=True, byteorder=">", metadata={"axes": "ZYX"}),
    "imagej behind one page": imagej_behind_one_page,
    "ome": whole(ome=True, metadata={"axes": "ZYX"}),
    "page by page": paged(metadata=None),
    "page by page, zlib": paged(metadata=None, compression="zlib"),
    "pillow": pillow,
}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_round_trip(kind: str, dtype: type, tmp_path: Path, grey_stack: np.ndarray) -> None:
    stack = grey_stack.astype(dtype) * (257 if dtype == np.uint16 else 1)
    path = tmp_path / "stack.tif"
    WRITERS[kind](path, stack)
    np.testing.assert_array_equal(read(path), stack)


@pytest.mark.parametrize("dtype", ["u4", "i4", "f4", "f8", "u8", "i2"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_round_trip_of_other_types(dtype: str, byteorder: str, tmp_path: Path) -> None:
    stack = (np.random.default_rng(0).random((3, 20, 30)) * 3e4).astype(dtype)
    tifffile.imwrite(tmp_path / "s.tiff", stack, photometric="minisblack", byteorder=byteorder)
    np.testing.assert_array_equal(read(tmp_path / "s.tiff"), stack)


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}])
def test_pages_that_tifffile_writes_one_by_one(
    options: dict[str, str], tmp_path: Path, grey_stack: np.ndarray
) -> None:
    paged(**options)(tmp_path / "s.tif", grey_stack)
    np.testing.assert_array_equal(read(tmp_path / "s.tif"), grey_stack)


def test_a_single_page_is_a_stack_of_one_slice(tmp_path: Path, grey_stack: np.ndarray) -> None:
    whole()(tmp_path / "one.tif", grey_stack[0])
    np.testing.assert_array_equal(read(tmp_path / "one.tif"), grey_stack[:1])


def test_a_stack_can_be_read_twice(tmp_path: Path, grey_stack: np.ndarray) -> None:
    whole()(tmp_path / "s.tif", grey_stack)
    with open_stack(tmp_path / "s.tif") as stack:
        np.testing.assert_array_equal(list(stack), list(stack))


@pytest.mark.parametrize(
    "kind",
    list(WRITERS),
)
def test_a_truncated_file_is_never_taken_for_a_shorter_stack(
    kind: str, tmp_path: Path, grey_stack: np.ndarray
) -> None:
    path = tmp_path / "cut.tif"
    WRITERS[kind](path, grey_stack)
    content = path.read_bytes()
    size = len(content)
    with tifffile.TiffFile(path) as file:
        starts = [page.offset + more for page in file.pages for more in (0, 1)]
    for length in sorted({*range(0, size, size // 37), *range(size - 240, size, 15), *starts}):
        path.write_bytes(content[:length])
        got, refusal = read_or_refusal(path)
        if got is None:
            assert str(path) in refusal
            assert "\n" not in refusal
        else:  # what was cut off held no pixels
            np.testing.assert_array_equal(got, grey_stack, err_msg=f"cut after {length} bytes")


def test_damaged_compressed_pixels_are_refused_by_slice(
    tmp_path: Path, grey_stack: np.ndarray
) -> None:
    path = tmp_path / "damaged.tif"
    whole(compression="zlib")(path, grey_stack)
    with tifffile.TiffFile(path) as file:
        offset, count = file.pages[3].dataoffsets[0], file.pages[3].databytecounts[0]
    content = bytearray(path.read_bytes())
    content[offset : offset + count] = bytes(count)
    path.write_bytes(content)
    with pytest.raises(InputError, match="slice 3"):
        read(path)


def colour(path: Path) -> None:
    tifffile.imwrite(path, np.zeros((8, 9, 3), np.uint8), photometric="rgb")


def colour_stack(path: Path) -> None:
    tifffile.imwrite(path, np.zeros((4, 8, 9, 3), np.uint8), photometric="rgb")


def palette(path: Path) -> None:
    Image.fromarray(np.zeros((8, 9), np.uint8)).convert("P").save(path)


def channels(path: Path) -> None:
    tifffile.imwrite(path, np.zeros((4, 2, 8, 9), np.uint8), imagej=True, metadata={"axes": "ZCYX"})


def four_axes(path: Path) -> None:
    tifffile.imwrite(path, np.zeros((2, 4, 8, 9), np.uint8), photometric="minisblack")


@pytest.mark.parametrize("write", [colour, colour_stack, palette, channels])
def test_colour_is_refused(write: Callable[[Path], None], tmp_path: Path) -> None:
    write(tmp_path / "c.tif")
    with pytest.raises(InputError, match=r"c\.tif.*colour"):
        open_stack(tmp_path / "c.tif")


@pytest.mark.parametrize("content", [b"", b"II", b"not a tiff at all, but long enough to be one"])
def test_other_content_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.tif").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.tif"):
        open_stack(tmp_path / "x.tif")


def test_other_axes_formats_folders_and_missing_files_are_refused(tmp_path: Path) -> None:
    four_axes(tmp_path / "four.tif")
    (tmp_path / "image.png").write_bytes(b"\x89PNG")
    (tmp_path / "folder.tif").mkdir()
    for name in ("four.tif", "image.png", "folder.tif", "none.tif"):
        with pytest.raises(InputError, match=name) as caught:
            open_stack(tmp_path / name)
        assert "\n" not in str(caught.value)
