"""Stacks that are made from other stacks, a slice at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import numpy as np

from emsam.data.digest import file_xxh3
from emsam.data.readers.stack import FileDigest, Stack
from emsam.errors import InputError


class Derived(Stack):
    """A stack made from ``stacks``, with the shape and dtype of the first unless said otherwise.

    ``how`` says what was done, and is part of the identity.
    """

    def __init__(
        self,
        stacks: Sequence[Stack],
        how: str,
        shape: tuple[int, int, int] | None = None,
        dtype: np.dtype[np.generic] | None = None,
    ) -> None:
        first = stacks[0]
        warnings = tuple(line for each in stacks for line in each.warnings)
        super().__init__(
            first.name, shape or first.shape, dtype or first.dtype, first.voxel_size, warnings
        )
        self._stacks, self._how = tuple(stacks), how

    def identity(self, digest: FileDigest = file_xxh3) -> str:
        """What was done, and to what."""
        return json.dumps([self._how, *(each.identity(digest) for each in self._stacks)])

    def close(self) -> None:
        """Close all stacks."""
        for each in self._stacks:
            each.close()


class Joined(Derived):
    """Stacks behind each other in z.

    Parameters
    ----------
    renumber
        Whether the ids of each stack are raised above those of the stacks before it.

    Raises
    ------
    InputError
        Stacks of different sides or dtypes.
    """

    def __init__(self, stacks: Sequence[Stack], *, renumber: bool = False) -> None:
        first = stacks[0]
        for each in stacks[1:]:
            if (each.shape[1:], each.dtype) != (first.shape[1:], first.dtype):
                raise InputError(
                    f"{each.name}: slices of {each.shape[1:]} ({each.dtype}), but {first.name} "
                    f"has {first.shape[1:]} ({first.dtype}); these files do not belong together"
                )
        depth = sum(each.shape[0] for each in stacks)
        super().__init__(stacks, "joined", (depth, *first.shape[1:]))
        self._renumber = renumber

    def _planes(self, first: int) -> Iterator[np.ndarray]:
        if self._renumber:  # what is above depends on all that is below
            return islice(self._renumbered(), first, None)
        return self._joined(first)

    def _joined(self, first: int) -> Iterator[np.ndarray]:
        for each in self._stacks:
            yield from each.slices_from(min(first, each.shape[0]))
            first = max(0, first - each.shape[0])

    def _renumbered(self) -> Iterator[np.ndarray]:
        highest = raised = 0
        for each in self._stacks:
            for plane in each:
                if raised:
                    plane = np.where(plane > 0, plane + plane.dtype.type(raised), plane)
                highest = max(highest, int(plane.max()))
                yield plane
            raised = highest


class Cropped(Derived):
    """The window of ``shape`` that begins at ``corner`` (both z, y, x).

    Raises
    ------
    InputError
        A window that reaches beyond the stack.
    """

    def __init__(
        self, stack: Stack, corner: tuple[int, int, int], shape: tuple[int, int, int]
    ) -> None:
        ends = [a + n for a, n in zip(corner, shape, strict=True)]
        if min(corner) < 0 or any(e > n for e, n in zip(ends, stack.shape, strict=True)):
            raise InputError(
                f"{stack.name}: its labels, {shape} voxels from {corner} on, reach beyond its "
                f"shape {stack.shape}; these files do not belong together"
            )
        super().__init__([stack], f"cropped {corner} {shape}", shape)
        self._corner = corner

    def _planes(self, first: int) -> Iterator[np.ndarray]:
        z, y, x = self._corner
        depth, height, width = self.shape
        for plane in islice(self._stacks[0].slices_from(z + first), depth - first):
            yield plane[y : y + height, x : x + width]


class Changed(Derived):
    """A stack whose slices went through ``change``, which keeps their shape."""

    def __init__(
        self,
        stack: Stack,
        change: Callable[[np.ndarray], np.ndarray],
        how: str,
        dtype: np.dtype[np.generic] | None = None,
    ) -> None:
        super().__init__([stack], how, None, dtype)
        self._change = change

    def _planes(self, first: int) -> Iterator[np.ndarray]:
        return map(self._change, self._stacks[0].slices_from(first))
