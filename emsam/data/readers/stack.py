"""What every reader gives: a z,y,x stack that is read a slice at a time."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from emsam.data.digest import file_xxh3
from emsam.errors import DamagedInput, InputError, one_line

FileDigest = Callable[[Path], str]
VoxelSize = tuple[float, float, float]
"""z, y, x in nm."""
LARGEST_SLICE = 4 << 30
"""Bytes of a slice beyond which a header is taken for damaged."""
LARGEST_STACK = 16 << 40
"""Bytes of a stack beyond which a header is taken for damaged."""
LARGEST_CHUNK = 1 << 30
"""Bytes of a chunk beyond which it is refused: a chunk is decoded whole."""
SLAB_BYTES = 128 << 20
"""Memory for slices that are decoded together because a chunk holds several."""


class Stack(ABC):
    """A grey or label stack, opened for reading; memory is a slice, or a slab of one chunk.

    Attributes
    ----------
    name
        What the user called it, for messages.
    shape
        z, y, x; a single 2D image has z = 1.
    dtype
        Of the stored pixels.
    voxel_size
        z, y, x in nm where the image says all three, else ``None``.
    warnings
        One line each for what a person should know.
    """

    def __init__(
        self,
        name: str,
        shape: Sequence[int],
        dtype: np.dtype[np.generic],
        voxel_size: VoxelSize | None = None,
        warnings: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.dtype = np.dtype(dtype)
        self.shape = stack_shape(name, shape, self.dtype)
        self.voxel_size = voxel_size
        self.warnings = warnings

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[np.ndarray]:
        """All slices, see :meth:`slices_from`."""
        return self.slices_from(0)

    def slices_from(self, first: int) -> Iterator[np.ndarray]:
        """Slices from ``first`` on in order of z, each of shape (y, x) in native byte order.

        Raises
        ------
        InputError
            A slice that cannot be decoded, or is of another shape or dtype than was announced.
        """
        planes = self._planes(first)
        for z in range(first, self.shape[0]):
            with self._decoding(f"slice {z}"):
                plane = self._native(next(planes), self.shape[1:])
            yield plane

    def region(self, z: int, y: slice, x: slice) -> np.ndarray:
        """A part of slice ``z`` in native byte order; no more is decoded than the format asks.

        Raises
        ------
        InputError
            As :meth:`slices_from`.
        """
        what = f"slice {z}, rows {y.start} to {y.stop - 1}, columns {x.start} to {x.stop - 1},"
        with self._decoding(what):
            return self._native(self._region(z, y, x), (y.stop - y.start, x.stop - x.start))

    @property
    def chunk(self) -> tuple[int, int, int]:
        """z, y, x of what is decoded at a time; a damaged file has lost whole ones of these."""
        return (1, *self.shape[1:])

    @contextmanager
    def _decoding(self, what: str) -> Iterator[None]:
        try:
            yield
        except InputError:
            raise
        except Exception as error:  # every codec has its own exception
            raise DamagedInput(
                f"{self.name}: {what} cannot be decoded ({one_line(error)}); "
                "the file is truncated or damaged, copy it again"
            ) from None

    def _native(self, plane: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """``plane`` as it was announced; ``ValueError`` if it is something else."""
        if plane.dtype.newbyteorder("=") != self.dtype.newbyteorder("="):
            raise ValueError(f"it holds {plane.dtype}, announced was {self.dtype}")
        if plane.shape[-2:] != shape:
            raise ValueError(f"its shape is {plane.shape}")
        return plane.astype(plane.dtype.newbyteorder("="), copy=False).reshape(shape)

    def _region(self, z: int, y: slice, x: slice) -> np.ndarray:
        return next(self._planes(z)).reshape(self.shape[1:])[y, x]

    @abstractmethod
    def _planes(self, first: int) -> Iterator[np.ndarray]:
        """Slices from ``first`` on as the file has them; any exception means a damaged file."""

    @abstractmethod
    def identity(self, digest: FileDigest = file_xxh3) -> str:
        """A digest of the content: the same for the same voxels from the same files.

        Parameters
        ----------
        digest
            Of a file, where the content is that of files.
        """

    def close(self) -> None:  # noqa: B027  (most have nothing to close)
        """Let go of files."""


def stack_shape(
    name: str, shape: Sequence[int], dtype: np.dtype[np.generic]
) -> tuple[int, int, int]:
    """z, y, x of a 2D or 3D array that can be read with sensible memory.

    Raises
    ------
    InputError
        More or fewer axes, an empty axis, values that are no numbers, or a size that no stack
        has.
    """
    sides = tuple(int(side) for side in shape)
    if len(sides) not in (2, 3):
        raise InputError(
            f"{name}: shape {sides} is no z,y,x stack; give a grey image of 2 or 3 axes"
        )
    if min(sides) < 1:
        raise InputError(f"{name}: shape {sides} holds no voxel; give a whole image")
    if dtype.kind not in "biufc":
        raise InputError(f"{name}: dtype {dtype} holds no grey values or ids; convert it")
    depth, height, width = (1, *sides)[-3:]
    plane = height * width * dtype.itemsize
    if plane > LARGEST_SLICE or depth * plane > LARGEST_STACK:
        raise InputError(
            f"{name}: says its shape is {sides} ({dtype}, {depth * plane:.3g} bytes), more than "
            f"{LARGEST_SLICE >> 30} GiB a slice or {LARGEST_STACK >> 40} TiB in all; its header "
            "is damaged, or crop it first"
        )
    return depth, height, width


def slabs(
    depth: int, chunk_depth: int, plane_bytes: int, from_slice: int = 0
) -> Iterator[tuple[int, int]]:
    """z-ranges (first, end) of slices to decode together, from slice ``from_slice`` on.

    A slab is one chunk deep, less where that would take more than :data:`SLAB_BYTES`; it never
    spans two chunks.
    """
    most = max(1, min(chunk_depth, SLAB_BYTES // plane_bytes))
    step = math.ceil(chunk_depth / math.ceil(chunk_depth / most))
    for start in range(0, depth, chunk_depth):
        end = min(start + chunk_depth, depth)
        for first in range(start, end, step):
            if min(first + step, end) > from_slice:
                yield max(first, from_slice), min(first + step, end)


def refuse_large_chunk(name: str, chunk: Sequence[int], dtype: np.dtype[np.generic]) -> None:
    """Raise :class:`InputError` for a chunk that would not fit in memory."""
    size = math.prod(chunk) * dtype.itemsize
    if min(chunk, default=0) < 1 or size > LARGEST_CHUNK:
        raise InputError(
            f"{name}: chunks of {tuple(chunk)} voxels ({size:.3g} bytes); a chunk has 1 voxel to "
            f"{LARGEST_CHUNK >> 30} GiB, write it again with smaller chunks"
        )


@contextmanager
def reading(name: str, what: str) -> Iterator[None]:
    """Whatever a library raises while it opens ``name`` as ``what`` becomes one clear line."""
    try:
        yield
    except InputError:
        raise
    except PermissionError:
        raise InputError(f"{name}: may not be read; change its permissions") from None
    except Exception as error:  # libraries raise many kinds on damaged headers
        raise InputError(
            f"{name}: cannot be read as {what} ({one_line(error)}); "
            "the file is truncated or damaged, copy it again"
        ) from None
