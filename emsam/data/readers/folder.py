"""A folder of TIFF or PNG slices, in the order of the numbers in their names."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

from emsam.data.digest import file_xxh3
from emsam.data.readers.png import png_header, read_png
from emsam.data.readers.stack import FileDigest, Stack
from emsam.data.readers.tiff import TIFF_SUFFIXES, open_tiff
from emsam.errors import InputError

SLICE_SUFFIXES = (*TIFF_SUFFIXES, ".png")


class FolderStack(Stack):
    """A stack whose slices are files of one shape and dtype."""

    def __init__(self, name: str, files: list[Path]) -> None:
        shape, dtype = _header(files[0], f"{name}/{files[0].name}")
        super().__init__(name, (len(files), *shape), dtype, None, _oddities(files))
        self._files = files

    def _planes(self, first: int) -> Iterator[np.ndarray]:
        for path in self._files[first:]:
            try:
                yield _read(path)
            except InputError as error:
                raise type(error)(f"{self.name}: {error}") from None  # damage stays damage
            except Exception as error:
                raise ValueError(f"{path.name}: {error}") from None

    def identity(self, digest: FileDigest = file_xxh3) -> str:
        """md5 of all names and digests, in order."""
        entries = [[path.name, digest(path)] for path in self._files]
        text = json.dumps(entries).encode()
        md5 = hashlib.md5(text, usedforsecurity=False).hexdigest()
        return f"{'xxh3:' if digest is file_xxh3 else ''}{md5}.slices"


def open_folder(folder: Path, name: str) -> FolderStack:
    """Open the slices in ``folder``; hidden files are ignored.

    Raises
    ------
    InputError
        No slices, other files or folders, several suffixes, names without a number or with the
        same numbers, and slices that are no grey images of one shape and dtype.
    """
    return open_slices(_slices(folder, name), name)


def open_slices(files: list[Path], name: str) -> FolderStack:
    """Open ``files``, wherever they lie, in the order of the numbers in their names.

    Raises
    ------
    InputError
        Names without a number or with the same numbers, and slices that are no grey images of
        one shape and dtype.
    """
    files = in_order(name, files)
    stack = FolderStack(name, files)
    for path in files[1:]:
        shape, dtype = _header(path, f"{name}/{path.name}")
        if (shape, dtype.newbyteorder("=")) != (stack.shape[1:], stack.dtype.newbyteorder("=")):
            raise InputError(
                f"{name}/{path.name}: shape {shape} ({dtype}), but {files[0].name} has "
                f"{stack.shape[1:]} ({stack.dtype}); give slices of one shape and dtype"
            )
    return stack


def slice_numbers(stem: str) -> tuple[int, ...]:
    """Every number in a name, in order: ``"s2_z010"`` → ``(2, 10)``."""
    return tuple(int(digits) for digits in re.findall(r"\d+", stem))


def _slices(folder: Path, name: str) -> list[Path]:
    """All that is in the folder and not hidden, refused unless it is slices of one kind."""
    files = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    kinds = ", ".join(SLICE_SUFFIXES)
    if not files:
        raise InputError(f"{name}: the folder holds no slices; they end in {kinds}")
    for path in files:
        if not path.is_file() or path.suffix.lower() not in SLICE_SUFFIXES:
            raise InputError(
                f"{name}/{path.name}: not a slice ({kinds}); a folder of slices holds nothing "
                "else, move it elsewhere"
            )
    suffixes = sorted({path.suffix.lower() for path in files})
    if len(suffixes) > 1:
        raise InputError(
            f"{name}: slices end in {' and '.join(suffixes)}; give a folder of one kind"
        )
    return files


def in_order(name: str, files: list[Path]) -> list[Path]:
    """Slices in the order of the numbers in their names.

    Raises
    ------
    InputError
        Names without a number, or with the same numbers.
    """
    numbers = {path: slice_numbers(path.stem) for path in files}
    if len(files) == 1:
        return files
    ordered = sorted(files, key=lambda path: numbers[path])
    for before, path in pairwise(ordered):
        if not numbers[before] or not numbers[path]:
            nameless = before if not numbers[before] else path
            raise InputError(f"{name}/{nameless.name}: no number in its name; number the slices")
        if numbers[before] == numbers[path]:
            raise InputError(
                f"{name}: {before.name} and {path.name} have the same number; keep one of them"
            )
    return ordered


def _oddities(files: list[Path]) -> tuple[str, ...]:
    """Warnings of names that may not be those of the slices of one stack."""
    columns = list(zip(*(slice_numbers(path.stem) for path in files), strict=False))
    counting = next((column for column in columns if len(set(column)) > 1), ())
    warnings = _kinds(files)
    if len(set(counting)) == len(files):
        return (*warnings, *_gaps(counting))
    if counting:
        text = (
            f"several numbers in the names count the slices, from {files[0].name} to "
            f"{files[-1].name}; is it one stack, or several channels or tiles?"
        )
        return (*warnings, text)
    return warnings


def _kinds(files: list[Path]) -> tuple[str, ...]:
    """A warning of names that differ in more than numbers: image and mask, a copy, a sign."""
    kinds = sorted({re.sub(r"\d+", "#", path.stem) for path in files})
    if len(kinds) == 1:
        return ()
    return (f"names of {len(kinds)} kinds are taken for one stack, such as {kinds[0]}, {kinds[1]}",)


def _gaps(numbers: tuple[int, ...]) -> tuple[str, ...]:
    """A warning for numbers that are left out."""
    steps = np.diff(numbers)
    step = int(steps.min())
    where = [numbers[i] for i in np.flatnonzero(steps != step)]
    if not where:
        return ()
    after = ", ".join(map(str, where[:5])) + (" …" if len(where) > 5 else "")
    return (f"numbers of the slices have gaps after {after}; the volume has none there",)


def _header(path: Path, name: str) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    """(y, x) and dtype of a slice."""
    if path.suffix.lower() == ".png":
        return png_header(path, name)
    with open_tiff(path, name) as stack:
        if stack.shape[0] != 1:
            raise InputError(
                f"{name}: holds {stack.shape[0]} slices; a file in a folder holds one, or give "
                "the file alone"
            )
        return stack.shape[1:], stack.dtype


def _read(path: Path) -> np.ndarray:
    """Pixels of a slice, of shape (y, x)."""
    if path.suffix.lower() == ".png":
        return read_png(path)
    with open_tiff(path, path.name) as stack:
        return next(iter(stack))
