from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from emsam.data.readers import open_stack
from emsam.errors import DamagedInput
from tests.stacks import read, refusal, stacks


def write_slice(path: Path, plane: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    if path.suffix.lower() == ".png":
        native = np.ascontiguousarray(plane, dtype=plane.dtype.newbyteorder("="))
        path.write_bytes(imagecodecs.png_encode(native))
    else:
        order = ">" if plane.dtype.byteorder == ">" else "<"
        tifffile.imwrite(path, plane, photometric="minisblack", byteorder=order, metadata=None)


def write_folder(folder: Path, stack: np.ndarray, name: str = "z{}.tif") -> Path:
    for z, plane in enumerate(stack):
        write_slice(folder / name.format(z), plane)
    return folder


def emptied(folder: Path) -> Path:
    for path in folder.glob("*"):
        path.unlink()
    return folder


@given(
    array=stacks(most=13),
    name=st.sampled_from(["z{}.tif", "em_{:03}.TIFF", "2024-01_s{}_v2.tif"]),
    first=st.integers(0, 2000),
)
def test_round_trip_of_tiff(array: np.ndarray, name: str, first: int, tmp_path: Path) -> None:
    folder = emptied(tmp_path)
    for z, plane in enumerate(array):
        write_slice(folder / name.format(first + z), plane)
    np.testing.assert_array_equal(read(folder), array)


@given(array=stacks(("u1", "u2"), most=13), first=st.integers(0, 2000))
def test_round_trip_of_png(array: np.ndarray, first: int, tmp_path: Path) -> None:
    folder = emptied(tmp_path)
    for z, plane in enumerate(array):
        write_slice(folder / f"z{first + z}.png", plane)
    np.testing.assert_array_equal(read(folder), array)
    np.testing.assert_array_equal(read(folder / f"z{first}.png"), array[:1])


def test_numbers_count_not_letters(tmp_path: Path, grey_stack: np.ndarray) -> None:
    stack = np.concatenate([grey_stack] * 3)  # 15 slices: z9 before z10
    np.testing.assert_array_equal(read(write_folder(tmp_path / "a", stack)), stack)
    for z, plane in enumerate(grey_stack):  # the second number decides among equal first ones
        write_slice(tmp_path / "b" / f"tile{z // 2 + 9}_z{z % 2}.tif", plane)
    np.testing.assert_array_equal(read(tmp_path / "b"), grey_stack)


def test_hidden_files_are_ignored(tmp_path: Path, grey_stack: np.ndarray) -> None:
    folder = write_folder(tmp_path / "em", grey_stack, "z{}.png")
    (folder / ".DS_Store").write_bytes(b"Bud1")
    (folder / "._z0.png").write_bytes(b"resource fork")
    (folder / ".cache").mkdir()
    np.testing.assert_array_equal(read(folder), grey_stack)


def test_gaps_in_the_numbers_are_told(tmp_path: Path, grey_stack: np.ndarray) -> None:
    folder = write_folder(tmp_path / "em", grey_stack)
    with open_stack(folder) as stack:
        assert stack.warnings == ()
    (folder / "z2.tif").unlink()
    with open_stack(folder) as stack:
        assert stack.warnings == (
            "numbers of the slices have gaps after 1; the volume has none there",
        )


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["s_1_170", "s_2_188", "s_5_196"], "gaps after 2"),
        (["s1_c0", "s1_c1", "s2_c0"], "several channels or tiles"),
        (["z1.25", "z1.5", "z2.0"], "several channels or tiles"),
        (["image_1", "mask_2", "image_3"], "2 kinds"),
        (["z-2", "z-1", "z0"], "2 kinds"),
    ],
)
def test_names_that_may_not_be_of_one_stack_are_told(
    names: list[str], said: str, tmp_path: Path, grey_stack: np.ndarray
) -> None:
    (tmp_path / "em").mkdir()
    for name, plane in zip(names, grey_stack, strict=False):
        tifffile.imwrite(tmp_path / f"em/{name}.tif", plane, photometric="minisblack")
    with open_stack(tmp_path / "em") as stack:
        assert any(said in warning for warning in stack.warnings), stack.warnings


@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_a_damaged_slice_is_damage_that_names_the_folder(
    suffix: str, tmp_path: Path, grey_stack: np.ndarray
) -> None:
    folder = write_folder(tmp_path / "em", grey_stack, f"z{{}}.{suffix}")
    path = folder / f"z1.{suffix}"
    if suffix == "tif":
        tifffile.imwrite(path, grey_stack[1], compression="zlib", photometric="minisblack")
        with tifffile.TiffFile(path) as file:
            (at,), (size,) = file.pages[0].dataoffsets, file.pages[0].databytecounts
    else:
        content = path.read_bytes()
        at, size = content.index(b"IDAT") + 4, 8
    spoilt = bytearray(path.read_bytes())
    spoilt[at : at + size] = b"\xff" * size
    path.write_bytes(spoilt)
    with (
        open_stack(folder) as stack,
        pytest.raises(DamagedInput, match=f"em.*z1.{suffix}"),
    ):
        list(stack.slices_from(0))


def other_suffix(folder: Path, plane: np.ndarray) -> None:
    write_slice(folder / "z9.png", plane)


def same_number(folder: Path, plane: np.ndarray) -> None:
    write_slice(folder / "z01.tif", plane)


def other_name_same_number(folder: Path, plane: np.ndarray) -> None:
    write_slice(folder / "labels1.tif", plane)


def no_number(folder: Path, plane: np.ndarray) -> None:
    write_slice(folder / "mean.tif", plane)


def notes(folder: Path, plane: np.ndarray) -> None:
    (folder / "notes.txt").write_text("mine")


def a_folder(folder: Path, plane: np.ndarray) -> None:
    (folder / "raw").mkdir()


def other_shape(folder: Path, plane: np.ndarray) -> None:
    write_slice(folder / "z3.tif", plane[:-1])


def other_dtype(folder: Path, plane: np.ndarray) -> None:
    write_slice(folder / "z3.tif", plane.astype(np.uint16))


def a_stack(folder: Path, plane: np.ndarray) -> None:
    write_slice(folder / "z3.tif", np.stack([plane, plane]))


def colour(folder: Path, plane: np.ndarray) -> None:
    tifffile.imwrite(folder / "z3.tif", np.stack([plane] * 3, axis=-1), photometric="rgb")


def web_page(folder: Path, plane: np.ndarray) -> None:
    (folder / "z3.tif").write_text("\n<!DOCTYPE html><title>Log in</title>")


def no_slices(folder: Path, plane: np.ndarray) -> None:
    emptied(folder)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (other_suffix, "end in .png and .tif"),
        (same_number, "z01.tif and z1.tif have the same number"),
        (other_name_same_number, "labels1.tif and z1.tif have the same number"),
        (no_number, "em/mean.tif: no number"),
        (notes, "em/notes.txt: not a slice"),
        (a_folder, "em/raw: not a slice"),
        (other_shape, "em/z3.tif: shape (39, 48)"),
        (other_dtype, "em/z3.tif: shape (40, 48) (uint16)"),
        (a_stack, "em/z3.tif: holds 2 slices"),
        (colour, "em/z3.tif: a colour image"),
        (web_page, "em/z3.tif: is a web page"),
        (no_slices, "em: the folder holds no slices"),
    ],
)
def test_a_folder_that_is_no_stack_is_refused(
    spoil: Callable[[Path, np.ndarray], None], said: str, tmp_path: Path, grey_stack: np.ndarray
) -> None:
    folder = write_folder(tmp_path / "em", grey_stack)
    spoil(folder, grey_stack[0])
    assert said in refusal(folder)


@pytest.mark.parametrize("mode", ["RGB", "P", "RGBA", "LA", "1"])
def test_png_that_is_not_grey_is_refused(mode: str, tmp_path: Path, grey_stack: np.ndarray) -> None:
    folder = write_folder(tmp_path / "em", grey_stack, "z{}.png")
    Image.fromarray(grey_stack[0]).convert(mode).save(folder / "z3.png")
    line = refusal(folder)
    assert "em/z3.png" in line
    assert "convert it to grey" in line


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_a_slice_that_is_cut_is_named(suffix: str, tmp_path: Path, grey_stack: np.ndarray) -> None:
    folder = write_folder(tmp_path / "em", grey_stack, "z{}." + suffix)
    path = folder / f"z3.{suffix}"
    content = path.read_bytes()
    for length in [*range(0, len(content) - 200, 97), len(content) // 2]:
        path.write_bytes(content[:length])
        assert f"z3.{suffix}" in refusal(folder)


def test_damaged_png_pixels_are_refused(tmp_path: Path, grey_stack: np.ndarray) -> None:
    folder = write_folder(tmp_path / "em", grey_stack, "z{}.png")
    content = bytearray((folder / "z3.png").read_bytes())
    content[len(content) // 2] ^= 255
    (folder / "z3.png").write_bytes(content)
    line = refusal(folder)
    assert "slice 3" in line
    assert "z3.png" in line


def test_a_png_that_says_it_is_huge_is_refused(tmp_path: Path) -> None:
    write_slice(tmp_path / "z.png", np.zeros((4, 4), np.uint8))
    content = bytearray((tmp_path / "z.png").read_bytes())
    content[16:24] = (2**31 - 1).to_bytes(4, "big") * 2
    (tmp_path / "z.png").write_bytes(content)
    assert "header is damaged" in refusal(tmp_path / "z.png")


def test_identity_follows_names_and_pixels(tmp_path: Path, grey_stack: np.ndarray) -> None:
    a = write_folder(tmp_path / "a", grey_stack)
    b = write_folder(tmp_path / "b", grey_stack)
    (b / ".hidden").write_text("x")
    assert open_stack(a).identity() == open_stack(b).identity()
    write_slice(b / "z2.tif", grey_stack[3])
    assert open_stack(a).identity() != open_stack(b).identity()
