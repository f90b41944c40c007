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
        pages = self._file.series[0].pages
        if len(pages) == self.shape[0]:
            for page in pages:
                yield page.asarray()  # type: ignore[union-attr]
        else:  # one contiguous block behind a single page, as ImageJ writes it
            stack = tifffile.memmap(self.path, mode="r")
            for plane in stack.reshape(self.shape):
                yield np.array(plane)


def open_stack(path: Path) -> TiffStack:
    """Open a grey z,y,x stack.

    Raises
    ------
    InputError
        A missing file, another format, a truncated file, a colour image, or more axes than three.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file; check the path")
    if path.suffix.lower() not in TIFF_SUFFIXES:
        raise InputError(
            f"{path}: not a TIFF file; convert it to a .tif stack in the order z, y, x"
        )
    try:
        with _nothing_tolerated():
            file = tifffile.TiffFile(path)
            series = file.series[0]
            shape, axes, dtype = tuple(series.shape), series.axes, series.dtype
            page = file.pages[0]
            len(file.pages)  # walks the chain of pages to its end
    except Exception as error:  # tifffile raises many kinds on damaged headers
        raise InputError(
            f"{path}: cannot be read as TIFF ({_one_line(error)}); "
            "the file is truncated or damaged, copy it again"
        ) from None
    try:
        _refuse_colour(path, shape, axes, page)
        if dtype is None or len(shape) not in (2, 3):
            raise InputError(f"{path}: shape {shape} is no z,y,x stack; give a grey 2D or 3D image")
        _refuse_truncated(path, file)
    except InputError:
        file.close()
        raise
    depth, height, width = shape if len(shape) == 3 else (1, *shape)
    return TiffStack(path, (depth, height, width), np.dtype(dtype), file)


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
    for z, page in enumerate(file.series[0].pages):
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
