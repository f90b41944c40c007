"""TIFF stacks: plain, BigTIFF, OME-TIFF and ImageJ's."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr

from emsam.data.digest import file_xxh3
from emsam.data.readers.content import refuse_other_content
from emsam.data.readers.stack import FileDigest, Stack, reading, refuse_large_chunk
from emsam.data.readers.tiff_voxel_size import tiff_voxel_size
from emsam.errors import InputError
from emsam.quiet import silence

TIFF_SUFFIXES = (".tif", ".tiff")


class TiffStack(Stack):
    """A stack in a TIFF file: its pages, or one contiguous block behind a single page."""

    def __init__(self, path: Path, name: str, file: tifffile.TiffFile) -> None:
        shape, dtype = _stack_shape(name, file)
        super().__init__(name, shape, dtype, tiff_voxel_size(file))
        self._path = path
        self._file = file

    def _planes(self, first: int) -> Iterator[np.ndarray]:
        pages = self._pages
        for z in range(first, self.shape[0]):
            yield pages[z].asarray() if pages else np.array(self._mapped(z))

    def _region(self, z: int, y: slice, x: slice) -> np.ndarray:
        if not self._pages:
            return np.array(self._mapped(z)[y, x])
        with self._pages[z].aszarr() as store:  # decodes the strips or tiles that are asked for
            return np.asarray(zarr.open_array(store, mode="r")[y, x])

    @property
    def chunk(self) -> tuple[int, int, int]:
        """A strip or a tile."""
        return (1, *self._pages[0].chunks[-2:]) if self._pages else super().chunk

    @cached_property
    def _pages(self) -> list[Any]:
        """A page for each slice; none where one page describes all, as ImageJ writes large ones."""
        series = self._file.series
        pages = [page for each in series for page in each.pages]
        if len(pages) == self.shape[0]:
            return pages
        if series[0].dataoffset is None:
            raise ValueError(f"{len(pages)} pages for {self.shape[0]} slices")
        return []

    def _mapped(self, z: int) -> np.ndarray:
        """A mapping of one slice: that of the whole file would stay in memory as it is read."""
        dtype = self.dtype.newbyteorder(self._file.byteorder)
        step = self.shape[1] * self.shape[2] * dtype.itemsize
        start = int(self._file.series[0].dataoffset or 0) + z * step
        return np.memmap(self._path, dtype, "r", start, self.shape[1:])

    def identity(self, digest: FileDigest = file_xxh3) -> str:
        """Digest of the file."""
        return digest(self._path)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def open_tiff(path: Path, name: str) -> TiffStack:
    """Open a grey z,y,x stack.

    Pages of one shape and dtype are the slices, whether the writer called them one series or
    many.

    Raises
    ------
    InputError
        Another format, a truncated file, a colour image, more axes than three, or pages that
        differ.
    """
    refuse_other_content(path, name)
    silence("tifffile")  # it would print a line for each tag that it does not know
    file = None
    try:
        with reading(name, "TIFF"), _nothing_tolerated():
            file = tifffile.TiffFile(path)
            len(file.pages)  # walks the chain of pages to its end
            stack = TiffStack(path, name, file)
            _refuse_truncated(path, name, file, stack)
    except InputError:
        if file is not None:
            file.close()
        raise
    return stack


def _stack_shape(
    name: str, file: tifffile.TiffFile
) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    """Shape and dtype of all series together; what is no grey stack is refused."""
    first = file.series[0]
    shape, dtype = tuple(first.shape), first.dtype
    _refuse_colour(name, shape, first.axes, file.pages[0])
    if dtype is None or len(shape) not in (2, 3):
        raise InputError(f"{name}: shape {shape} is no z,y,x stack; give a grey 2D or 3D image")
    for other in file.series[1:]:
        if tuple(other.shape) != shape or other.dtype != dtype:
            raise InputError(
                f"{name}: holds images of shapes {shape} ({dtype}) and {tuple(other.shape)} "
                f"({other.dtype}); give one stack of equal slices"
            )
    depth = len(file.series) * (shape[0] if len(shape) == 3 else 1)
    return (depth, *shape[-2:]), np.dtype(dtype)


class _Complaints(logging.Handler):
    """Raises what tifffile would only log."""

    def emit(self, record: logging.LogRecord) -> None:
        raise ValueError(record.getMessage())


@contextmanager
def _nothing_tolerated() -> Iterator[None]:
    """tifffile logs a broken chain of pages and reads the rest; half a volume is no volume."""
    log, handler = logging.getLogger("tifffile"), _Complaints(logging.ERROR)
    propagate, log.propagate = log.propagate, False
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.propagate = propagate


def _refuse_colour(name: str, shape: tuple[int, ...], axes: str, page: object) -> None:
    samples = int(getattr(page, "samplesperpixel", 1))
    palette = getattr(page, "photometric", None) == tifffile.PHOTOMETRIC.PALETTE
    if "S" in axes or "C" in axes or samples > 1 or palette:
        what = "palette" if palette else f"{samples} samples a pixel"
        raise InputError(
            f"{name}: a colour image (shape {shape}, {what}); convert it to grey, one channel"
        )


def _refuse_truncated(path: Path, name: str, file: tifffile.TiffFile, stack: Stack) -> None:
    """Data that would end beyond the file is found before anything is decoded."""
    size = path.stat().st_size
    for z, page in enumerate(page for series in file.series for page in series.pages):
        if page is None or page.parent is not file:
            raise InputError(
                f"{name}: slice {z} is missing or in another file; give all slices in one file, "
                "or a folder of single slices"
            )
        if (described := page.keyframe) is not None and described.is_tiled:
            refuse_large_chunk(name, described.chunks, stack.dtype)
        ends = (o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=False))
        if max(ends, default=0) > size:
            raise InputError(
                f"{name}: slice {z} ends beyond the end of the file ({size} bytes); "
                "the file is truncated, copy it again"
            )
    if sum(len(series.pages) for series in file.series) != stack.shape[0]:
        start = file.series[0].dataoffset
        needed = int(np.prod(stack.shape, dtype=object)) * stack.dtype.itemsize
        if start is None or start + needed > size:
            raise InputError(
                f"{name}: {stack.shape[0]} slices need {needed} bytes, the file has {size}; "
                "it is truncated, copy it again"
            )
