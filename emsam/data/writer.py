"""Writes a volume store, slab by slab, and can go on with one that was begun."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice, product
from pathlib import Path
from typing import Any, Self

import numpy as np
import zarr

from emsam.data.halving import halve_labels
from emsam.data.pyramid import (
    CHUNK,
    LARGEST_SLAB,
    codec_of,
    create_level,
    multiscales,
    our_codecs,
    pyramid_levels,
    shard_of,
)
from emsam.data.shards import Compress, Shard, blosc, takes_direct_io
from emsam.data.store import VolumeInfo

_IN_HAND = 288 << 20
"""Bytes of the shards that are compressed at a time; each takes as much again."""
_WORTH = 0.8
"""Part of the bytes of an image's level that compression leaves at most where it is used.

It takes more CPU time than all else of an ingest, and some of each reading (docs/benchmarks.md).
"""
_TRIED = 64
"""Chunks of the first slab from which that is estimated."""


@dataclass(frozen=True)
class _Block:
    """A shard of a slab, and the level of the pyramid of which array it belongs to."""

    key: str
    level: int
    shard: Shard


class VolumeWriter:
    """Writes a volume slice by slice; memory is one slab of a shard's depth, two of small slices.

    A slab is kept as the shards that it becomes, of all levels, and written by several threads
    while the next one is filled. Labels are compressed, and levels of the image where that is worth
    while.
    The caller gives the path a temporary name and renames it when :meth:`finish` has returned.

    Parameters
    ----------
    shape
        z, y, x.
    image_dtype, label_dtypes
        What is stored; labels by task.
    begun
        Slices that are in ``path`` already, from a writer with the same arguments that was
        killed: a multiple of :attr:`depth`. What lies beyond them is dropped.
    """

    def __init__(
        self,
        path: Path,
        shape: tuple[int, int, int],
        image_dtype: np.dtype[np.generic],
        label_dtypes: Mapping[str, np.dtype[np.generic]],
        begun: int = 0,
    ) -> None:
        self._shape = shape
        self._levels = pyramid_levels(shape)
        self._dtypes = {"image": image_dtype} | {
            f"labels/{task}": dtype for task, dtype in label_dtypes.items()
        }
        self._arrays = {
            f"{key}/{level}": (key, level, dtype)
            for (key, dtype), level in product(self._dtypes.items(), range(self._levels))
        }
        voxel_bytes = sum(each.itemsize for each in self._dtypes.values())
        self._shard = shard_of(shape[1:], voxel_bytes)
        slab_bytes = self.depth * math.prod(shape[1:]) * voxel_bytes
        self._overlaps = 2 * slab_bytes <= LARGEST_SLAB
        self._path, self._direct = path, takes_direct_io(path.parent)
        self._group = zarr.open_group(path, mode="r+" if begun else "w-", zarr_format=3)
        self._codecs = self._go_on(begun) if begun else {}
        self._slab: list[_Block] = []
        self._busy: list[_Block] = []
        self._spare: list[list[_Block]] = []
        self._filled = 0
        self._written = begun
        self._pool = ThreadPoolExecutor(self._writers())
        self._pending: list[Future[None]] = []

    @property
    def depth(self) -> int:
        """Slices that are written together."""
        return self._shard[0]

    def _go_on(self, begun: int) -> dict[str, Compress | None]:
        """Codecs of the arrays that are there, less what they hold beyond ``begun`` slices."""
        codecs = {}
        for path, (_, _, dtype) in self._arrays.items():
            codecs[path] = blosc(codec_of(dtype)) if self._array(path).compressors else None
            _drop_from(self._path / path / "c", begun // self.depth)
        return codecs

    def _create(self) -> dict[str, Compress | None]:
        """Make the arrays, now that the first slab says how; returns their codecs."""
        codecs: dict[str, Compress | None] = {}
        for path, (key, level, dtype) in self._arrays.items():
            compress = blosc(codec_of(dtype))
            worth = key != "image" or self._is_worth(compress, level)
            codecs[path] = compress if worth else None
            create_level(
                self._group, path, level, self._shape, dtype, self._shard, compressed=worth
            )
        return codecs

    def _is_worth(self, compress: Compress, level: int) -> bool:
        """Whether compression saves enough of the image; chunks from anywhere in the slab tell."""
        image = [each.shard for each in self._slab if (each.key, each.level) == ("image", level)]
        chunks = [chunk for shard in image for chunk in shard.chunks(self._filled)]
        anywhere = np.random.default_rng(0).permutation(len(chunks))
        stored = (chunks[i] for i in anywhere if chunks[i].any())  # zeros are not, either way
        tried = list(islice(stored, _TRIED))
        left = sum(len(compress(chunk)) for chunk in tried)
        return left <= _WORTH * sum(chunk.nbytes for chunk in tried)

    def _array(self, path: str) -> zarr.Array[Any]:
        with our_codecs():
            array = self._group[path]
        assert isinstance(array, zarr.Array)
        return array

    def last_labels(self) -> dict[str, np.ndarray]:
        """By task, ids of the last slice that is written, (y, x)."""
        return {
            key.removeprefix("labels/"): np.asarray(self._array(f"{key}/0")[self._written - 1])
            for key in self._dtypes
            if key != "image"
        }

    def append(self, image: Sequence[np.ndarray], labels: Mapping[str, np.ndarray]) -> bool:
        """Add the next slice.

        Parameters
        ----------
        image
            At all levels of the pyramid, see :func:`~emsam.data.halving.image_levels`.
        labels
            By task, ids (y, x).

        Returns
        -------
        bool
            Whether a slab was full with it. All slices before that slab are written then.
        """
        if not self._slab:
            self._slab = self._spare.pop() if self._spare else self._new_slab()
        for level, plane in zip(range(self._levels), image, strict=True):
            self._put("image", level, plane)
        for task, plane in labels.items():
            for level in range(self._levels):
                self._put(f"labels/{task}", level, plane)
                plane = halve_labels(plane)
        self._filled += 1
        if self._filled < self.depth:
            return False
        self._flush()
        return True

    def finish(self, info: VolumeInfo) -> None:
        """Write the last slab and the metadata."""
        if self._filled:
            self._flush()
        self._wait()
        ome = multiscales("image", info.name, info.voxel_size, self._levels)
        self._group.attrs.put({"ome": ome, "emsam": asdict(info)})
        tasks = [key.removeprefix("labels/") for key in self._dtypes if key != "image"]
        if tasks:
            self._group["labels"].attrs["ome"] = {"version": "0.5", "labels": tasks}
        for task in tasks:
            ome = multiscales("", task, info.voxel_size, self._levels)
            ome["image-label"] = {"source": {"image": "../../"}}
            self._group[f"labels/{task}"].attrs["ome"] = ome

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Wait for what is being written, so that the folder can be removed."""
        self._pool.shutdown(cancel_futures=True)

    def _writers(self) -> int:
        """Threads that write: as one waits for the disk, others use the cores."""
        largest = max(each.itemsize for each in self._dtypes.values()) * math.prod(self._shard)
        return max(1, min((os.cpu_count() or 1) + 1, _IN_HAND // largest))

    def _new_slab(self) -> list[_Block]:
        _, height, width = self._shape
        _, *sides = self._shard
        blocks = []
        for key, level, dtype in self._arrays.values():
            rows, columns = (
                _parts(-(-whole >> level), side)
                for whole, side in zip((height, width), sides, strict=True)
            )
            for place in product(rows, columns):
                blocks.append(_Block(key, level, Shard(self._shard, CHUNK[1:], *place, dtype)))
        return blocks

    def _put(self, key: str, level: int, plane: np.ndarray) -> None:
        for block in self._slab:
            if (block.key, block.level) == (key, level):
                block.shard.put(self._filled, plane)

    def _flush(self) -> None:
        """Give the slab to other threads when the one before is written."""
        self._wait()
        self._codecs = self._codecs or self._create()
        self._pending = [
            self._pool.submit(self._write, block, self._written, self._filled)
            for block in self._slab
        ]
        self._written += self._filled
        self._busy, self._slab, self._filled = self._slab, [], 0
        if not self._overlaps:
            self._wait()

    def _wait(self) -> None:
        pending, self._pending = self._pending, []
        for each in pending:
            each.result()
        if pending:
            self._spare.append(self._busy)

    def _write(self, block: _Block, first: int, count: int) -> None:
        """Write ``count`` slices of a block from slice ``first`` on."""
        path = f"{block.key}/{block.level}"
        block.shard.write(self._path / path, first, count, self._codecs[path], direct=self._direct)


def _parts(whole: int, side: int) -> list[slice]:
    return [slice(start, min(start + side, whole)) for start in range(0, whole, side)]


def _drop_from(chunks: Path, shard: int) -> None:
    """Remove the shards of an array from number ``shard`` along z on: they may be in pieces."""
    for folder in chunks.glob("*"):
        if int(folder.name) >= shard:
            shutil.rmtree(folder)
