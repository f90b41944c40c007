"""Writes a volume store, slab by slab, and can go on with one that was begun."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any, Self

import numpy as np
import zarr

from emsam.data.halving import halve_image, halve_labels
from emsam.data.pyramid import LARGEST_SLAB, create_level, multiscales, our_codecs, shard_of
from emsam.data.store import VolumeInfo, pyramid_levels

_IN_HAND = 96 << 20
"""Bytes of the shards that are compressed at a time; each takes three times as much."""


@dataclass(frozen=True)
class _Block:
    """Voxels (z, y, x) of a slab that one shard holds, and where in which level they belong."""

    key: str
    level: int
    rows: slice
    columns: slice
    voxels: np.ndarray


class VolumeWriter:
    """Writes a volume slice by slice; memory is one slab of a shard's depth, two of small slices.

    A slab is kept as the shards that it becomes, of all levels, and written by several threads
    while the next one is filled. The caller gives the path a temporary name and renames it when
    :meth:`finish` has returned.

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
        plane_bytes = shape[1] * shape[2] * sum(each.itemsize for each in self._dtypes.values())
        self._shard = shard_of(plane_bytes)
        self._overlaps = 2 * self.depth * plane_bytes <= LARGEST_SLAB
        keys = [(key, level) for key in self._dtypes for level in range(self._levels)]
        with our_codecs(path):
            self._group = zarr.open_group(path, mode="r+" if begun else "w-", zarr_format=3)
            make = self._go_on if begun else self._create
            self._arrays = {(key, level): make(key, level) for key, level in keys}
        if begun:
            for key, level in keys:
                _drop_from(path / key / str(level) / "c", begun // self.depth)
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

    def _create(self, key: str, level: int) -> zarr.Array[Any]:
        dtype = self._dtypes[key]
        return create_level(self._group, f"{key}/{level}", level, self._shape, dtype, self._shard)

    def _go_on(self, key: str, level: int) -> zarr.Array[Any]:
        array = self._group[f"{key}/{level}"]
        assert isinstance(array, zarr.Array)
        return array

    def last_labels(self) -> dict[str, np.ndarray]:
        """By task, ids of the last slice that is written, (y, x)."""
        return {
            key.removeprefix("labels/"): np.asarray(self._arrays[key, 0][self._written - 1])
            for key in self._dtypes
            if key != "image"
        }

    def append(self, image: np.ndarray, labels: Mapping[str, np.ndarray]) -> bool:
        """Add the next slice: image and, for every task, labels; each of shape (y, x).

        Returns
        -------
        bool
            Whether a slab was full with it. All slices before that slab are written then.
        """
        if not self._slab:
            self._slab = self._spare.pop() if self._spare else self._new_slab()
        self._fill("image", image, halve_image)
        for task, plane in labels.items():
            self._fill(f"labels/{task}", plane, halve_labels)
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
        depth, *sides = self._shard
        blocks = []
        for (key, level), array in self._arrays.items():
            for rows, columns in product(
                *(_parts(whole, side) for whole, side in zip(array.shape[1:], sides, strict=True))
            ):
                shape = (depth, rows.stop - rows.start, columns.stop - columns.start)
                voxels = np.empty(shape, self._dtypes[key])
                blocks.append(_Block(key, level, rows, columns, voxels))
        return blocks

    def _fill(self, key: str, plane: np.ndarray, halve: Callable[[np.ndarray], np.ndarray]) -> None:
        """Put a slice (y, x) and its halves into the slab."""
        level = 0
        for block in self._slab:
            if block.key != key:
                continue
            if block.level > level:
                plane, level = halve(plane), block.level
            block.voxels[self._filled] = plane[block.rows, block.columns]

    def _flush(self) -> None:
        """Give the slab to other threads when the one before is written."""
        self._wait()
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
        """Write ``count`` slices of a block from slice ``first`` on: a whole shard."""
        array = self._arrays[block.key, block.level]
        array[first : first + count, block.rows, block.columns] = block.voxels[:count]


def _parts(whole: int, side: int) -> list[slice]:
    return [slice(start, min(start + side, whole)) for start in range(0, whole, side)]


def _drop_from(chunks: Path, shard: int) -> None:
    """Remove the shards of an array from number ``shard`` along z on: they may be in pieces."""
    for folder in chunks.glob("*"):
        if int(folder.name) >= shard:
            shutil.rmtree(folder)
