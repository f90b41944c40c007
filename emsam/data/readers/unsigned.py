"""Signed images that hold no negative value, as the unsigned images that they are."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from emsam.data.digest import file_xxh3
from emsam.data.readers.stack import FileDigest, Stack
from emsam.errors import InputError


class UnsignedStack(Stack):
    """A stack of 8 or 16 bit signed values, refused at the first negative one.

    Whether −1 is a shifted grey value, an unsigned 255 or a fill value, a file does not say, so
    nothing is shifted here.
    """

    def __init__(self, stack: Stack) -> None:
        dtype = np.dtype(f"uint{stack.dtype.itemsize * 8}")
        super().__init__(stack.name, stack.shape, dtype, stack.voxel_size, stack.warnings)
        self._stack = stack

    def _planes(self, first: int) -> Iterator[np.ndarray]:
        for z, plane in enumerate(self._stack.slices_from(first), first):
            yield self._as_unsigned(z, plane)

    def _region(self, z: int, y: slice, x: slice) -> np.ndarray:
        return self._as_unsigned(z, self._stack.region(z, y, x))

    @property
    def chunk(self) -> tuple[int, int, int]:
        """That of the stack."""
        return self._stack.chunk

    def _as_unsigned(self, z: int, plane: np.ndarray) -> np.ndarray:
        if (least := plane.min()) < 0:
            half = 1 << (8 * self.dtype.itemsize - 1)
            raise InputError(
                f"{self.name}: slice {z} has the value {least} ({plane.dtype}, signed); add "
                f"{half} to all voxels, or read them as unsigned if that is what they are, "
                f"and save them as {self.dtype}"
            )
        return plane.astype(self.dtype)

    def identity(self, digest: FileDigest = file_xxh3) -> str:
        """That of the stack."""
        return self._stack.identity(digest)

    def close(self) -> None:
        """Close the stack."""
        self._stack.close()


def as_unsigned(stack: Stack) -> Stack:
    """``stack`` itself unless it is of 8 or 16 bit signed integers."""
    return UnsignedStack(stack) if stack.dtype.str[1:] in ("i1", "i2") else stack
