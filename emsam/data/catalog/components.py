"""From a mask to instances: its connected parts are numbered."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
from scipy.ndimage import label
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from emsam.data.catalog.stacks import Derived
from emsam.data.readers import Stack
from emsam.errors import InputError


class ConnectedParts(Derived):
    """The connected parts of a mask: uint32 ids from 1 upwards.

    Voxels that share a side are connected. With ``through_slices`` parts go through z; the mask is
    then read twice, and memory is two slices and a number for each part of a slice. Without, every
    slice is numbered from 1 again.

    Parameters
    ----------
    mask
        Two values, of which one is background.
    foreground, background
        Values of the mask that are an object, and none.

    Raises
    ------
    InputError
        While it is read: another value.
    """

    def __init__(
        self,
        mask: Stack,
        *,
        through_slices: bool,
        foreground: tuple[int, ...] = (1, 255),
        background: tuple[int, ...] = (0,),
    ) -> None:
        how = f"connected parts of {foreground}, {'3D' if through_slices else '2D'}"
        super().__init__([mask], how, None, np.dtype(np.uint32))
        self._through = through_slices
        self._foreground, self._background = foreground, background

    def _planes(self, first: int) -> Iterator[np.ndarray]:
        if self._through:  # a number depends on all slices
            return islice(self._numbered_through(), first, None)
        return (parts.astype(np.uint32) for parts, _ in self._parts(first))

    def _numbered_through(self) -> Iterator[np.ndarray]:
        ids = self._ids_of_parts()
        first = 0
        for parts, count in self._parts():
            of_slice = np.concatenate([[0], ids[first : first + count]]).astype(np.uint32)
            yield of_slice[parts]
            first += count

    def _parts(self, first: int = 0) -> Iterator[tuple[np.ndarray, int]]:
        """Connected parts of each slice from ``first`` on, numbered from 1, and how many."""
        for z, plane in enumerate(self._stacks[0].slices_from(first), first):
            values = np.unique(plane)
            strange = values[~np.isin(values, (*self._foreground, *self._background))]
            if strange.size:
                raise InputError(
                    f"{self.name}: slice {z} has the value {strange[0]}; a mask has "
                    f"{', '.join(map(str, (*self._background, *self._foreground)))} alone"
                )
            parts, count = label(np.isin(plane, self._foreground))
            yield np.asarray(parts), int(count)

    def _ids_of_parts(self) -> np.ndarray:
        """For every part of every slice, in order, the number of the object that it belongs to."""
        first, touching = 0, [np.empty((0, 2), np.int64)]
        before, first_before = None, 0
        for parts, count in self._parts():
            if before is not None:
                both = (before > 0) & (parts > 0)
                pairs = np.stack([before[both], parts[both]], axis=1).astype(np.int64)
                offsets = np.array([first_before - 1, first - 1])
                touching.append(np.unique(pairs, axis=0) + offsets)
            before, first_before = parts, first
            first += count
        pairs = np.concatenate(touching)
        links = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), (first, first))
        _, objects = connected_components(links, directed=False)
        return objects + 1
