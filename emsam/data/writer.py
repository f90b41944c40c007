"""Writes a volume store, slab by slab, and can go on with one that was begun."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import numpy as np
import zarr
from zarr.codecs import BloscCodec

from emsam.data.halving import halve_image, halve_labels
from emsam.data.store import SLAB, VolumeInfo, pyramid_levels

CHUNK = (1, 256, 256)
_SHARDS = ((SLAB, 1024), (8, 2048), (2, 4096), (1, 4096))
"""Depth of a shard, and its sides in y and x: the wider the slices, the flatter the shards."""
_LARGEST_SLAB = 320 << 20
"""Bytes of the slices that are held to be written together."""
COMPRESSOR = BloscCodec(cname="zstd", clevel=1, shuffle="shuffle")
"""Of EM images and ids it makes less than level 5 with bits shuffled, in a fifth of the time."""
_PIPELINE: dict[str, Any] = {
    "codec_pipeline.path": "zarrs.ZarrsCodecPipeline",
    "codec_pipeline.chunk_concurrent_minimum": 1,
    "codec_pipeline.chunk_concurrent_maximum": 1,
    "threading.max_workers": 1,
}
"""zarrs writes several times as fast as zarr-python; with more threads the order of the chunks in
a shard, and with it the digest of a volume, would be another each time."""


def shard_of(plane_bytes: int) -> tuple[int, int, int]:
    """z, y, x of a shard where a slice of image and labels together takes ``plane_bytes``.

    Slices are written a shard deep, so that a shard is written once; so many have to fit in memory.
    """
    for depth, side in _SHARDS:
        if depth * plane_bytes <= _LARGEST_SLAB:
            return (depth, side, side)
    return (1, _SHARDS[-1][1], _SHARDS[-1][1])


class VolumeWriter:
    """Writes a volume slice by slice; memory is one slab of a shard's depth, two of small slices.

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
        plane_bytes = shape[1] * shape[2] * sum(each.itemsize for each in self._dtypes.values())
        self._shard = shard_of(plane_bytes)
        self._overlaps = 2 * self.depth * plane_bytes <= _LARGEST_SLAB
        keys = [(key, level) for key in self._dtypes for level in range(self._levels)]
        with zarr.config.set(_PIPELINE if find_spec("zarrs") else {}):
            self._group = zarr.open_group(path, mode="r+" if begun else "w-", zarr_format=3)
            make = self._go_on if begun else self._create
            self._arrays = {(key, level): make(key, level) for key, level in keys}
        if begun:
            for key, level in keys:
                _drop_from(path / key / str(level) / "c", begun // self.depth)
        self._slab: dict[str, np.ndarray] = {}
        self._filled = 0
        self._written = begun
        self._pool = ThreadPoolExecutor()
        self._pending: list[Future[None]] = []

    @property
    def depth(self) -> int:
        """Slices that are written together."""
        return self._shard[0]

    def _create(self, key: str, level: int) -> zarr.Array[Any]:
        depth, height, width = self._shape
        return self._group.create_array(
            f"{key}/{level}",
            shape=(depth, -(-height >> level), -(-width >> level)),
            dtype=self._dtypes[key],
            chunks=CHUNK,
            shards=self._shard,
            compressors=COMPRESSOR,
            dimension_names=("z", "y", "x"),
        )

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
            shape = (self.depth, *self._shape[1:])
            self._slab = {key: np.empty(shape, dtype) for key, dtype in self._dtypes.items()}
        self._slab["image"][self._filled] = image
        for task, plane in labels.items():
            self._slab[f"labels/{task}"][self._filled] = plane
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

    def _flush(self) -> None:
        """Give the slab to other threads when the one before is written."""
        self._wait()
        where = slice(self._written, self._written + self._filled)
        self._pending = [
            self._pool.submit(self._write, key, slab[: self._filled], where)
            for key, slab in self._slab.items()
        ]
        self._written += self._filled
        self._slab, self._filled = {}, 0
        if not self._overlaps:
            self._wait()

    def _wait(self) -> None:
        pending, self._pending = self._pending, []
        for each in pending:
            each.result()

    def _write(self, key: str, slab: np.ndarray, where: slice) -> None:
        """All levels of a slab."""
        halve = halve_image if key == "image" else halve_labels
        for level in range(self._levels):
            self._arrays[key, level][where] = slab
            if level + 1 < self._levels:
                slab = np.stack([halve(plane) for plane in slab])


def _drop_from(chunks: Path, shard: int) -> None:
    """Remove the shards of an array from number ``shard`` along z on: they may be in pieces."""
    for folder in chunks.glob("*"):
        if int(folder.name) >= shard:
            shutil.rmtree(folder)


def multiscales(
    prefix: str,
    name: str,
    voxel_size: tuple[float, float, float],
    levels: int,
    *,
    unit: bool = True,
) -> dict[str, Any]:
    """OME's metadata of a pyramid that halves y and x; ``unit``: whether the voxel size is in nm.

    Parameters
    ----------
    prefix
        Folder of the levels, relative to the group that gets the metadata.
    """
    z, y, x = voxel_size
    datasets = [
        {
            "path": f"{prefix}/{level}" if prefix else str(level),
            "coordinateTransformations": [
                {"type": "scale", "scale": [z, y * 2**level, x * 2**level]}
            ],
        }
        for level in range(levels)
    ]
    said = {"unit": "nanometer"} if unit else {}
    axes = [{"name": axis, "type": "space"} | said for axis in "zyx"]
    return {
        "version": "0.5",
        "multiscales": [{"name": name, "axes": axes, "datasets": datasets}],
    }
