"""Slices from the files that microscopes and annotation tools write."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import tifffile

from emsam.errors import InputError

TIFF_SUFFIXES = (".tif", ".tiff")


@dataclass
class TiffStack:
    """A z,y,x stack in a TIFF file, read a slice at a time.

    Attributes
    ----------
    path
        The file.
    shape
        z, y, x; a single 2D page has z = 1.
    dtype
        Of the stored pixels.
    """

    path: Path
    shape: tuple[int, int, int]
    dtype: np.dtype[np.generic]
    _file: tifffile.TiffFile

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[np.ndarray]:
        """Slices in order of z, each of shape (y, x) in native byte order."""
        planes = self._decode()
        for z in range(self.shape[0]):
            try:
                plane = next(planes)
            except Exception as error:  # every codec has its own exception
                raise InputError(
                    f"{self.path}: slice {z} cannot be decoded ({_one_line(error)}); "
                    "the file is truncated or damaged, copy it again"
                ) from None
            native = plane.dtype.newbyteorder("=")
            yield plane.astype(native, copy=False).reshape(self.shape[1:])

    def _decode(self) -> Iterator[np.ndarray]:
        series = self._file.series
        pages = [page for each in series for page in each.pages]
        if len(pages) == self.shape[0]:
            for page in pages:
                yield page.asarray()  # type: ignore[union-attr]
        else:  # one contiguous block behind a single page, as ImageJ writes it
            stack = tifffile.memmap(self.path, mode="r")
            for plane in stack.reshape(self.shape):
                yield np.array(plane)


def open_stack(path: Path) -> TiffStack:
    """Open a grey z,y,x stack.

    Pages of one shape and dtype are the slices, whether the writer called them one series or
    many.

    Raises
    ------
    InputError
        A missing file, another format, a truncated file, a colour image, more axes than three,
        or pages that differ.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file; check the path")
    if path.suffix.lower() not in TIFF_SUFFIXES:
        raise InputError(
            f"{path}: not a TIFF file; convert it to a .tif stack in the order z, y, x"
        )
    file = None
    try:
        with _nothing_tolerated():
            file = tifffile.TiffFile(path)
            len(file.pages)  # walks the chain of pages to its end
            shape, dtype = _stack_shape(path, file)
            _refuse_truncated(path, file)
    except Exception as error:  # tifffile raises many kinds on damaged headers
        if file is not None:
            file.close()
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path}: cannot be read as TIFF ({_one_line(error)}); "
            "the file is truncated or damaged, copy it again"
        ) from None
    return TiffStack(path, shape, dtype, file)


def _stack_shape(
    path: Path, file: tifffile.TiffFile
) -> tuple[tuple[int, int, int], np.dtype[np.generic]]:
    """z, y, x and dtype of all series together; what is no grey stack is refused."""
    first = file.series[0]
    shape, dtype = tuple(first.shape), first.dtype
    _refuse_colour(path, shape, first.axes, file.pages[0])
    if dtype is None or len(shape) not in (2, 3):
        raise InputError(f"{path}: shape {shape} is no z,y,x stack; give a grey 2D or 3D image")
    for other in file.series[1:]:
        if tuple(other.shape) != shape or other.dtype != dtype:
            raise InputError(
                f"{path}: holds images of shapes {shape} ({dtype}) and {tuple(other.shape)} "
                f"({other.dtype}); give one stack of equal slices"
            )
    depth = len(file.series) * (shape[0] if len(shape) == 3 else 1)
    return (depth, int(shape[-2]), int(shape[-1])), np.dtype(dtype)


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


def _refuse_colour(path: Path, shape: tuple[int, ...], axes: str, page: object) -> None:
    samples = int(getattr(page, "samplesperpixel", 1))
    palette = getattr(page, "photometric", None) == tifffile.PHOTOMETRIC.PALETTE
    if "S" in axes or "C" in axes or samples > 1 or palette:
        what = "palette" if palette else f"{samples} samples a pixel"
        raise InputError(
            f"{path}: a colour image (shape {shape}, {what}); convert it to grey, one channel"
        )


def _refuse_truncated(path: Path, file: tifffile.TiffFile) -> None:
    """A page whose data would end beyond the file is found before anything is decoded."""
    size = path.stat().st_size
    for z, page in enumerate(page for series in file.series for page in series.pages):
        if page is None:
            raise InputError(f"{path}: page {z} is missing; the file is truncated, copy it again")
        ends = (o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=False))
        if max(ends, default=0) > size:
            raise InputError(
                f"{path}: slice {z} ends beyond the end of the file ({size} bytes); "
                "the file is truncated, copy it again"
            )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
