"""TIFF stacks: plain, BigTIFF, OME-TIFF and ImageJ's."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr

from emsam.data.digest import file_xxh3
from emsam.data.readers.content import refuse_other_content
from emsam.data.readers.stack import FileDigest, Stack, reading, refuse_large_chunk
from emsam.data.readers.tiff_pages import own_layout, plain_pages, refuse_colour
from emsam.data.readers.tiff_voxel_size import tiff_voxel_size
from emsam.errors import InputError
from emsam.quiet import silence

TIFF_SUFFIXES = (".tif", ".tiff")


class TiffStack(Stack):
    """A stack in a TIFF file: its pages, or one contiguous block behind a single page."""

    def __init__(self, path: Path, name: str, file: tifffile.TiffFile) -> None:
        self._path = path
        self._file = file
        self.pages: list[Any] = plain_pages(name, file)
        if self.pages:
            shape, dtype = (len(self.pages), *self.pages[0].shape), self.pages[0].dtype
        else:
            shape, dtype = _series_shape(name, file)
            self.pages = _series_pages(name, file, shape[0])
        assert dtype is not None
        super().__init__(name, shape, dtype, tiff_voxel_size(file))

    def _planes(self, first: int) -> Iterator[np.ndarray]:
        pages = self.pages
        for z in range(first, self.shape[0]):
            yield pages[z].asarray() if pages else np.array(self._mapped(z))

    def _region(self, z: int, y: slice, x: slice) -> np.ndarray:
        if not self.pages:
            return np.array(self._mapped(z)[y, x])
        with self.pages[z].aszarr() as store:  # decodes the strips or tiles that are asked for
            return np.asarray(zarr.open_array(store, mode="r")[y, x])

    @property
    def chunk(self) -> tuple[int, int, int]:
        """A strip or a tile."""
        if not self.pages:
            return super().chunk
        height, width = self.pages[0].chunks[-2:]
        return (1, height, width)

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


def _series_shape(
    name: str, file: tifffile.TiffFile
) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    """Shape and dtype of all series together; what is no grey stack is refused."""
    first = file.series[0]
    shape, dtype = tuple(first.shape), first.dtype
    refuse_colour(name, shape, first.axes, file.pages.first)
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


def _series_pages(name: str, file: tifffile.TiffFile, depth: int) -> list[Any]:
    """A page for each slice; none where one page describes all, as ImageJ writes large ones."""
    pages = [own_layout(name, file, page) for each in file.series for page in each.pages]
    if len(pages) == depth:
        return pages
    if file.series[0].dataoffset is None:
        raise ValueError(f"{len(pages)} pages for {depth} slices")
    if len(file.pages) > 1:
        raise InputError(f"{name}: holds several stacks in {len(file.pages)} pages; give one alone")
    return []


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


def _refuse_truncated(path: Path, name: str, file: tifffile.TiffFile, stack: TiffStack) -> None:
    """What cannot be decoded is found before anything is: pages elsewhere, or cut off."""
    size = path.stat().st_size
    pages = stack.pages or [page for series in file.series for page in series.pages]
    for z, page in enumerate(pages):
        if page is None or page.parent is not file:
            raise InputError(
                f"{name}: slice {z} is missing or in another file; give all slices in one file, "
                "or a folder of single slices"
            )
        if (layout := page.keyframe) is not None and layout.is_tiled:
            refuse_large_chunk(name, layout.chunks, stack.dtype)
        ends = (o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=False))
        if layout is not None and layout.is_contiguous and 0 in page.dataoffsets[:1]:
            raise InputError(f"{name}: slice {z} has no pixels in the file; copy it again")
        if max(ends, default=0) > size:
            raise InputError(
                f"{name}: slice {z} ends beyond the end of the file ({size} bytes); "
                "the file is truncated, copy it again"
            )
    if not stack.pages:
        start = file.series[0].dataoffset
        needed = int(np.prod(stack.shape, dtype=object)) * stack.dtype.itemsize
        if start is None or start + needed > size:
            raise InputError(
                f"{name}: {stack.shape[0]} slices need {needed} bytes, the file has {size}; "
                "it is truncated, copy it again"
            )
