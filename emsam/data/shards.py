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
        for _, chunk in _each(self._chunks[:slices]):
            yield chunk

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
        index = np.full((*self._grid, 2), _NOT_STORED, "<u8")
        chunks = self._chunks[:slices]
        memory = self._memory if compress is None else _buffer(len(self._memory))
        end = 0
        for number, (at, chunk) in enumerate(_each(chunks)):
            if chunk[0, 0] == 0 and not chunk.any():
                continue
            start, size = number * chunk.nbytes, chunk.nbytes
            if compress is not None:
                made = compress(chunk)
                start, size = end, len(made)
                memory[start : start + size] = made
            index[at] = start, size
            end = start + size
        if end == 0:
            return
        if compress is None:
            end = chunks.nbytes  # nothing may lie where voxels of the next slices will
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


def _each(chunks: np.ndarray) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """Each chunk, of two axes, with its place in the axes before."""
    for at in np.ndindex(chunks.shape[:-2]):
        yield at, chunks[at]


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
