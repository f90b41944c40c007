"""Zarr v2 and v3 arrays, alone or in an OME-Zarr group."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import zarr
from zarr.abc.store import Store

from emsam.data.digest import file_xxh3, folder_digest
from emsam.data.readers.axes import known_axes, spatial_axes
from emsam.data.readers.chunks import (
    arrays_below,
    missing_chunks,
    only_array,
    refuse_links,
    refuse_links_to,
    refuse_truncated_blosc,
    refuse_truncated_chunk,
    touched_files,
)
from emsam.data.readers.ome_zarr import full_resolution, ome_axes
from emsam.data.readers.stack import (
    SLAB_BYTES,
    FileDigest,
    Stack,
    reading,
    refuse_large_chunk,
    slabs,
)
from emsam.data.readers.zarr_metadata import ZarrArray, is_array, read_array


class ZarrStack(Stack):
    """A Zarr array, read one chunk deep at a time; a chunk that is not stored is its fill value.

    Parameters
    ----------
    whole
        Whether all of it will be read: then its files are looked at first, else as they are read.
    store
        What has the files, if it is not ``array.folder``.
    """

    def __init__(
        self, array: ZarrArray, name: str, *, whole: bool = True, store: Store | None = None
    ) -> None:
        names, voxel_size = ome_axes(array.folder, name)
        names = names or known_axes(array.axes)
        axes = tuple(range(len(array.shape)))
        if len(names) == len(array.shape):
            axes = spatial_axes(names, array.shape, name)
        shape = [array.shape[axis] for axis in axes]
        super().__init__(name, shape, array.dtype, voxel_size)
        refuse_large_chunk(name, array.chunk, array.dtype)
        self._folder = array.folder
        self._axes = axes
        self._chunk = (1, *(array.chunk[axis] for axis in axes))[-3:]
        self._is_blosc = array.packed_by == "blosc"
        if whole:
            refuse_links(array.folder, name)
            if self._is_blosc:
                refuse_truncated_blosc(array.folder, name)
        with reading(name, "Zarr"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of codecs that are not in the specification yet
            self._array = zarr.open_array(
                store or array.folder, mode="r", zarr_format=array.version
            )
        if whole:
            key = self._array.metadata.encode_chunk_key
            self.warnings = missing_chunks(
                array.folder, array.shape, array.stored, array.fill, key, name
            )
        self._stored = array.stored
        self._has_files = store is None

    def _planes(self, first: int) -> Iterator[np.ndarray]:
        depth, height, width = self.shape
        plane_bytes = height * width * self.dtype.itemsize
        for start, end in slabs(depth, self._chunk[0], plane_bytes, first):
            slab = np.empty((end - start, height, width), self._array.dtype)
            for y, x in self._blocks():
                slab[:, y, x] = self._array[self._index(slice(start, end), y, x)]
            yield from slab

    def _index(self, z: int | slice, y: slice, x: slice) -> tuple[int | slice, ...]:
        """Where z, y, x are among the array's axes; the others have length 1."""
        index: list[int | slice] = [0] * len(self._array.shape)
        for axis, part in zip(reversed(self._axes), (x, y, z), strict=False):
            index[axis] = part
        return tuple(index)

    def _region(self, z: int, y: slice, x: slice) -> np.ndarray:
        index = self._index(z, y, x)
        if self._has_files:
            self._look_at_files(index)
        return np.asarray(self._array[index])

    def _look_at_files(self, index: tuple[int | slice, ...]) -> None:
        """Look at the files of a region, as is done at opening if all of it will be read."""
        key = self._array.metadata.encode_chunk_key
        files = list(touched_files(self._folder, self._stored, index, self._array.shape, key))
        refuse_links_to(files, self._folder, self.name)
        for path in files:
            if self._is_blosc and path.is_file():
                refuse_truncated_chunk(path, self._folder, self.name)

    @property
    def chunk(self) -> tuple[int, int, int]:
        """Of a sharded array, a chunk inside a shard."""
        depth, height, width = self._chunk
        return depth, height, width

    def _blocks(self) -> Iterator[tuple[slice, slice]]:
        """Parts of a slab, in y and x, whose chunks fit in memory together."""
        _, height, width = self.shape
        _, tall, wide = self._chunk
        most = max(1, SLAB_BYTES // (math.prod(self._chunk) * self.dtype.itemsize))
        row = math.ceil(width / wide)
        y_step, x_step = tall * max(1, most // row), wide * min(row, most)
        for y in range(0, height, y_step):
            for x in range(0, width, x_step):
                yield slice(y, min(y + y_step, height)), slice(x, min(x + x_step, width))

    def identity(self, digest: FileDigest = file_xxh3) -> str:
        """Digest of all files of the array."""
        return folder_digest(self._folder)


def open_zarr(folder: Path, name: str, *, whole: bool = True) -> ZarrStack:
    """Open a Zarr array, the full resolution of an OME-Zarr group, or a group's only array.

    Raises
    ------
    InputError
        No array, several to choose from, damaged metadata, other dtypes or codecs, and several
        times or channels.
    """
    with reading(name, "Zarr"):
        return ZarrStack(read_array(find_array(folder, name), name), name, whole=whole)


def find_array(folder: Path, name: str) -> Path:
    """The folder of the array that ``folder`` means, by the metadata alone."""
    if is_array(folder):
        return folder
    full = full_resolution(folder, name)
    if full is not None:
        return full
    return only_array(folder, list(arrays_below(folder, is_array)), name)
