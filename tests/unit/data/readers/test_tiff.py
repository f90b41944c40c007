from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from emsam.data.readers import open_stack
from emsam.errors import InputError
from tests.stacks import offered, read, read_or_refusal, refusal, stacks

Writer = Callable[[Path, np.ndarray], None]


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
    "jpeg 2000, lossless": whole(compression="jpeg2000"),
    "tiled": whole(tile=(16, 16)),
    "tiled, lzw": whole(tile=(32, 16), compression="lzw", predictor=True),
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


@given(
    array=stacks(),
    options=st.sampled_from(
        [{}, {"compression": "zlib"}, {"tile": (16, 32)}, {"rowsperstrip": 2}, {"bigtiff": True}]
    ),
)
def test_round_trip_of_any_type(array: np.ndarray, options: dict[str, Any], tmp_path: Path) -> None:
    order = ">" if array.dtype.byteorder == ">" else "<"
    whole(byteorder=order, metadata=None, **options)(tmp_path / "s.tiff", array)
    np.testing.assert_array_equal(read(tmp_path / "s.tiff"), array)


@pytest.mark.parametrize("options", [{}, {"tile": (16, 16)}, {"rowsperstrip": 8}])
def test_jpeg_is_what_tifffile_decodes(
    options: dict[str, Any], tmp_path: Path, grey_stack: np.ndarray
) -> None:
    path = tmp_path / "s.tif"
    whole(compression="jpeg", compressionargs={"level": 80}, **options)(path, grey_stack)
    got = read(path)
    np.testing.assert_array_equal(got, tifffile.imread(path))
    assert not np.array_equal(got, grey_stack)  # it is lossy


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}])
def test_pages_that_tifffile_writes_one_by_one(
    options: dict[str, str], tmp_path: Path, grey_stack: np.ndarray
) -> None:
    paged(**options)(tmp_path / "s.tif", grey_stack)
    np.testing.assert_array_equal(read(tmp_path / "s.tif"), grey_stack)


def one_by_one(path: Path, planes: list[np.ndarray], options: list[dict[str, Any]]) -> None:
    with tifffile.TiffWriter(path) as writer:
        for plane, own in zip(planes, options, strict=True):
            writer.write(plane, photometric="minisblack", contiguous=False, **own)


@pytest.mark.parametrize("described", [True, False], ids=["described", "plain"])
@pytest.mark.parametrize("depth", [5, 40])
def test_each_page_may_be_stored_in_its_own_way(
    described: bool, depth: int, tmp_path: Path
) -> None:
    """As a program does that appends to what another one wrote."""
    planes = list(np.random.default_rng(0).integers(0, 256, (depth, 48, 40), np.uint8))
    ways: list[dict[str, Any]] = [{"compression": "zlib"}, {"tile": (16, 16)}, {"rowsperstrip": 7}]
    options = [{} if described else {"metadata": None} for _ in planes]
    for own, way in zip(options[2:], ways, strict=False):
        own.update(way)
    one_by_one(tmp_path / "s.tif", planes, options)
    np.testing.assert_array_equal(read(tmp_path / "s.tif"), planes)


@pytest.mark.parametrize("described", [True, False], ids=["described", "plain"])
@pytest.mark.parametrize(
    "odd",
    [
        np.zeros((24, 40), np.uint8),
        np.zeros((96, 20), np.uint8),
        np.zeros((48, 40), np.int8),
        np.zeros((24, 40), np.uint16),
    ],
    ids=["fewer rows", "narrower", "signed", "16 bit"],
)
def test_a_page_that_is_no_slice_of_the_stack_is_refused(
    odd: np.ndarray, described: bool, tmp_path: Path
) -> None:
    """In the middle of many, where tifffile takes it for one of them."""
    planes = [np.full((48, 40), z, np.uint8) for z in range(40)]
    planes[20] = odd
    one_by_one(tmp_path / "s.tif", planes, [{} if described else {"metadata": None}] * 40)
    said = refusal(tmp_path / "s.tif")
    assert "page 20" in said
    assert "give one stack of equal slices" in said


def test_a_page_that_differs_from_what_ome_says_is_refused(
    tmp_path: Path, grey_stack: np.ndarray
) -> None:
    path = tmp_path / "s.ome.tif"
    whole(ome=True, compression="zlib", metadata={"axes": "ZYX"})(path, grey_stack)
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[3].tags["ImageLength"].overwrite(grey_stack.shape[1] // 2)
    assert "page 3" in refusal(path)


def test_smaller_copies_of_pages_are_no_slices(tmp_path: Path, grey_stack: np.ndarray) -> None:
    """Writers of pyramids put them between the pages, or behind each of them."""
    planes = [each for plane in grey_stack for each in (plane, plane[::2, ::2])]
    options: list[dict[str, Any]] = [{"metadata": None}, {"metadata": None, "subfiletype": 1}]
    one_by_one(tmp_path / "between.tif", planes, options * len(grey_stack))
    with tifffile.TiffWriter(tmp_path / "behind.tif") as writer:
        for plane in grey_stack:
            writer.write(plane, photometric="minisblack", subifds=1, metadata=None)
            writer.write(plane[::2, ::2], photometric="minisblack", subfiletype=1, metadata=None)
    for name in ("between.tif", "behind.tif"):
        np.testing.assert_array_equal(read(tmp_path / name), grey_stack)


@pytest.mark.parametrize("depth", [4, 40])
@pytest.mark.parametrize("ome", [True, False], ids=["ome", "plain"])
def test_strips_may_lie_in_any_order(ome: bool, depth: int, tmp_path: Path) -> None:
    planes = np.random.default_rng(0).integers(0, 256, (depth, 48, 40), np.uint8)
    strips = planes.reshape(depth, 3, 16, 40)
    strips[2] = strips[2, ::-1]
    path = tmp_path / "s.tif"
    whole(rowsperstrip=16, ome=ome, metadata={"axes": "ZYX"} if ome else None)(path, planes)
    with tifffile.TiffFile(path, mode="r+") as file:
        offsets = file.pages[2].aspage().tags["StripOffsets"]
        offsets.overwrite(offsets.value[::-1])
    strips[2] = strips[2, ::-1]
    np.testing.assert_array_equal(read(path), planes)


@pytest.mark.parametrize("shape", [(10, 48, 1), (48, 40, 1), (4, 1, 1), (5, 1, 40)])
def test_stacks_as_narrow_as_a_pixel(shape: tuple[int, int, int], tmp_path: Path) -> None:
    """tifffile keeps one as a single page, and says its shape beside it."""
    stack = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    whole()(tmp_path / "s.tif", stack)
    np.testing.assert_array_equal(read(tmp_path / "s.tif"), stack)


def test_slices_below_a_page_or_called_reduced_are_slices(
    tmp_path: Path, grey_stack: np.ndarray
) -> None:
    options: list[dict[str, Any]] = [{"subfiletype": int(z > 0)} for z in range(len(grey_stack))]
    one_by_one(tmp_path / "reduced.tif", list(grey_stack), options)
    with tifffile.TiffWriter(tmp_path / "below.tif") as writer:
        for z, plane in enumerate(grey_stack):
            below = {"subifds": len(grey_stack) - 1} if z == 0 else {}
            writer.write(plane, photometric="minisblack", metadata=None, **below)
    for name in ("reduced.tif", "below.tif"):
        np.testing.assert_array_equal(read(tmp_path / name), grey_stack)


def test_several_stacks_behind_a_page_each_are_refused(
    tmp_path: Path, grey_stack: np.ndarray
) -> None:
    with tifffile.TiffWriter(tmp_path / "s.tif") as writer:
        for part in (grey_stack, grey_stack[::-1]):
            writer.write(part, photometric="minisblack", truncate=True)
    assert "several stacks" in refusal(tmp_path / "s.tif")


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
    (tmp_path / "image.jpg").write_bytes(b"\xff\xd8")
    (tmp_path / "folder.tif").mkdir()
    for name in ("four.tif", "image.png", "image.jpg", "folder.tif", "none.tif"):
        with pytest.raises(InputError, match=name) as caught:
            open_stack(tmp_path / name)
        assert "\n" not in str(caught.value)


# -- voxel size -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit", "factor"), [(None, 1e3), ("nm", 1.0), ("µm", 1e3), ("Å", 0.1), ("mm", 1e6)]
)
def test_ome_says_the_voxel_size(
    unit: str | None, factor: float, tmp_path: Path, grey_stack: np.ndarray
) -> None:
    sizes: dict[str, Any] = {
        f"PhysicalSize{axis}": side for axis, side in zip("ZYX", (3, 0.5, 2), strict=True)
    }
    units = {f"PhysicalSize{axis}Unit": unit for axis in "ZYX"} if unit else {}
    path = tmp_path / "s.ome.tif"
    whole(ome=True, metadata={"axes": "ZYX"} | sizes | units)(path, grey_stack)
    assert offered(path) == pytest.approx((3 * factor, 0.5 * factor, 2 * factor))


@pytest.mark.parametrize(
    ("unit", "factor"), [("um", 1e3), ("micron", 1e3), ("\\u00B5m", 1e3), ("nm", 1.0), ("cm", 1e7)]
)
def test_imagej_says_the_voxel_size(
    unit: str, factor: float, tmp_path: Path, grey_stack: np.ndarray
) -> None:
    metadata = {"axes": "ZYX", "spacing": 0.03, "unit": unit}
    whole(imagej=True, resolution=(250, 125), metadata=metadata)(tmp_path / "s.tif", grey_stack)
    wanted = (0.03 * factor, 0.008 * factor, 0.004 * factor)
    assert offered(tmp_path / "s.tif") == pytest.approx(wanted)


def test_half_a_voxel_size_is_none(tmp_path: Path, grey_stack: np.ndarray) -> None:
    path = tmp_path / "s.tif"
    written: list[dict[str, Any]] = [
        {"resolution": (72, 72), "resolutionunit": "INCH"},
        {"ome": True, "metadata": {"axes": "ZYX", "PhysicalSizeX": 8, "PhysicalSizeY": 8}},
        {"ome": True, "metadata": {"axes": "ZYX"}},
        {"imagej": True, "resolution": (125, 125), "metadata": {"axes": "ZYX", "unit": "um"}},
        {"imagej": True, "resolution": (125, 125), "metadata": {"axes": "ZYX", "spacing": 3}},
        {"imagej": True, "resolution": (1, 1),
         "metadata": {"axes": "ZYX", "spacing": 1, "unit": "pixel"}},
    ]  # fmt: skip
    for options in written:
        whole(**options)(path, grey_stack)
        assert offered(path) is None, options


# -- what is no TIFF ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\n <HTML><body>Sign in", "is a web page"),
        (b"<!doctype html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
    ],
)
def test_what_a_failed_download_leaves_is_named(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "x.tif").write_bytes(content)
    assert said in refusal(tmp_path / "x.tif")


def test_sizes_that_no_stack_has_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    whole(compression="zlib", metadata=None)(path, np.zeros((2, 16, 16), np.uint8))
    with tifffile.TiffFile(path, mode="r+") as file:
        for page in file.pages:
            page.tags["ImageWidth"].overwrite(2**31 - 1)
            page.tags["ImageLength"].overwrite(2**31 - 1)
            page.tags["RowsPerStrip"].overwrite(2**31 - 1)
    assert "header is damaged" in refusal(path)


def test_an_ome_tiff_whose_slices_are_in_other_files_is_refused(
    tmp_path: Path, grey_stack: np.ndarray
) -> None:
    path = tmp_path / "s.ome.tif"
    whole(ome=True, metadata={"axes": "ZYX"})(path, grey_stack)
    other = tmp_path / "other.ome.tif"
    other.write_bytes(path.read_bytes())
    with tifffile.TiffFile(path, mode="r+") as file:
        xml = file.ome_metadata or ""
        elsewhere = '<TiffData IFD="0" PlaneCount="5"><UUID FileName="other.ome.tif">urn:uuid:1'
        file.pages.first.tags["ImageDescription"].overwrite(
            xml.replace('<TiffData IFD="0" PlaneCount="5"/>', f"{elsewhere}</UUID></TiffData>")
        )
    assert "in another file" in refusal(path)


def test_a_slice_is_held_at_a_time(tmp_path: Path) -> None:
    stack = np.zeros((64, 256, 256), np.uint8)
    for number, write in enumerate((whole(), paged(compression="zlib"), imagej_behind_one_page)):
        path = tmp_path / f"s{number}.tif"
        write(path, stack)
        with open_stack(path) as opened:
            planes = iter(opened)
            next(planes)
            tracemalloc.start()
            for _ in planes:
                pass
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < 8 * 256 * 256, path


def test_a_tile_that_would_fill_the_memory_is_refused(
    write_tiff: Callable[..., Path], grey_stack: np.ndarray
) -> None:
    path = write_tiff("em.tif", grey_stack, tile=(16, 16))
    with tifffile.TiffFile(path) as file:
        tags = [page.tags[name] for page in file.pages for name in ("TileWidth", "TileLength")]
    content = bytearray(path.read_bytes())
    for tag in tags:
        content[tag.valueoffset : tag.valueoffset + 2] = b"\xf0\xff"
    path.write_bytes(content)
    assert "write it again with smaller chunks" in refusal(path)
