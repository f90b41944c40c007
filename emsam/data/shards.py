"""Shards of a Zarr v3 array that are filled slice by slice, each written once, as a whole file.

A general writer cuts voxels into chunks, asks of each whether it is empty, and joins what is left:
half of the CPU time of an ingest, and nearly all where nothing is compressed. Here the voxels of a
shard lie chunk after chunk from the start, as its file has them. What is not compressed is written
from where it lies.

The layout is that of
https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/index.html.
"""

from __future__ import annotations

import math
import mmap
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import google_crc32c
import numpy as np
from numcodecs.blosc import MAX_OVERHEAD, Blosc
from zarr.codecs import BloscCodec

Compress = Callable[[np.ndarray], bytes]
"""Takes a chunk and returns all that is stored of it, as a codec of Zarr does."""
_NOT_STORED = np.uint64(2**64 - 1)
"""In the index, offset and size of a chunk of zeros."""
_CHECKSUM = 4
_SHUFFLES = {"noshuffle": Blosc.NOSHUFFLE, "shuffle": Blosc.SHUFFLE, "bitshuffle": Blosc.BITSHUFFLE}
_buffers = threading.local()


class Shard:
    """The voxels of one shard of an array, taken in slice by slice.

    Parameters
    ----------
    shape
        z, y, x of a whole shard.
    chunk
        Sides in y and x of its chunks, which are a slice thick.
    rows, columns
        What the shard holds of a slice of the array: all of its shape but at the edges.
    dtype
        Of the array.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        chunk: tuple[int, int],
        rows: slice,
        columns: slice,
        dtype: np.dtype[np.generic],
    ) -> None:
        depth, height, width = shape
        self._part = (rows, columns)
        self._place = (rows.start // height, columns.start // width)
        self._grid = (depth, height // chunk[0], width // chunk[1])
        held = [
            math.ceil((part.stop - part.start) / side)
            for part, side in zip((rows, columns), chunk, strict=True)
        ]
        count = depth * math.prod(held) * math.prod(chunk)
        dtype = dtype.newbyteorder("<")
        self._memory = _allocate(count * dtype.itemsize + self._beside_voxels)
        self._chunks = np.frombuffer(self._memory, dtype, count).reshape(depth, *held, *chunk)

    def put(self, z: int, plane: np.ndarray) -> None:
        """Take in slice ``z`` of the shard from a slice (y, x) of the array."""
        plane = plane[self._part]
        height, width = self._chunks.shape[3:]
        whole, rest = divmod(plane.shape[1], width)
        for i, chunks in enumerate(self._chunks[z]):
            band = plane[i * height : (i + 1) * height]
            inner = band[:, : whole * width].reshape(len(band), whole, width)
            chunks[:whole, : len(band)] = inner.swapaxes(0, 1)
            if rest:
                chunks[whole, : len(band), :rest] = band[:, whole * width :]

    def chunks(self, slices: int) -> Iterator[np.ndarray]:
        """Each chunk (y, x) of its first ``slices``; those at an edge are padded with zeros."""
        held = self._chunks[:slices]
        yield from held.reshape(-1, *held.shape[3:])

    def write(
        self, array: Path, first: int, slices: int, compress: Compress | None, *, direct: bool
    ) -> None:
        """Write its first ``slices`` as a file.

        Parameters
        ----------
        array
            Folder of the array.
        first
            Slice of the array that is slice 0 here.
        compress
            What the array's codec makes of a chunk; ``None`` if it has none.
        direct
            Past the page cache; see :func:`takes_direct_io`.
        """
        chunks = self._chunks[:slices]
        stored = _not_zero(chunks)
        if not stored.any():
            return
        index = np.full((*self._grid, 2), _NOT_STORED, "<u8")
        held = index[tuple(slice(each) for each in stored.shape)]
        if compress is None:  # each chunk where it lies
            memory, end, size = self._memory, chunks.nbytes, chunks[0, 0, 0].nbytes
            starts = np.arange(0, end, size, dtype="<u8").reshape(stored.shape)
            held[stored, 0], held[stored, 1] = starts[stored], size
        else:
            memory, end = _buffer(len(self._memory)), 0
            for at in map(tuple, np.argwhere(stored)):
                made = compress(chunks[at])
                memory[end : end + len(made)] = made
                held[at] = end, len(made)
                end += len(made)
        content = index.tobytes()
        content += google_crc32c.value(content).to_bytes(_CHECKSUM, "little")
        memory[end : end + len(content)] = content
        path = array.joinpath("c", *map(str, (first // self._grid[0], *self._place)))
        _write_file(path, memory, end + len(content), direct=direct)

    @property
    def _beside_voxels(self) -> int:
        """Bytes that a file takes at most beyond those of the voxels."""
        chunks = math.prod(self._grid)
        return chunks * (16 + MAX_OVERHEAD) + _CHECKSUM


def blosc(codec: BloscCodec) -> Compress:
    """What ``codec`` of an array makes of a chunk."""
    made = Blosc(codec.cname.value, codec.clevel, _SHUFFLES[codec.shuffle.value], codec.blocksize)
    return made.encode


def takes_direct_io(folder: Path) -> bool:
    """Whether files in ``folder`` can be written past the page cache.

    The kernel's copy of them would take as long as compressing them.
    """
    if not hasattr(os, "O_DIRECT"):
        return False
    try:
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            os.close(os.open(file.name, os.O_WRONLY | os.O_DIRECT))
    except OSError:  # of other reasons the writer itself will say more
        return False
    return True


def _not_zero(chunks: np.ndarray) -> np.ndarray:
    """Of chunks (z, i, j, y, x), which (z, i, j) hold anything; the first voxel mostly tells."""
    found = chunks[..., 0, 0] != 0
    for at in map(tuple, np.argwhere(~found)):
        found[at] = chunks[at].any()
    return found


def _buffer(size: int) -> mmap.mmap:
    """Memory of this thread, which is used again."""
    if len(getattr(_buffers, "memory", b"")) < size:
        _buffers.memory = _allocate(size)
    memory: mmap.mmap = _buffers.memory
    return memory


def _allocate(size: int) -> mmap.mmap:
    """Memory that begins with a page, and of huge pages where the system has them.

    Mapping and clearing many small ones takes longer than filling them.
    """
    memory = mmap.mmap(-1, _whole_pages(size), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # the system has none
            memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


def _whole_pages(size: int) -> int:
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE


def _write_file(path: Path, memory: mmap.mmap, size: int, *, direct: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    how = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | (os.O_DIRECT if direct else 0)
    file = os.open(path, how, 0o666)
    try:
        left = memoryview(memory)[: _whole_pages(size)]  # past the page cache only whole pages go
        while left:
            left = left[os.write(file, left) :]
        os.ftruncate(file, size)
    finally:
        os.close(file)
