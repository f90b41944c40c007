"""How every store of ours keeps a pyramid: chunks, shards, compression, OME-Zarr metadata."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec
from zarr.storage import MemoryStore

SLAB = 32
"""Slices of the deepest shard."""
CHUNK = (1, 256, 256)
_SMALLEST_LEVEL = 256
_SHARDS = ((SLAB, 1024), (8, 2048), (2, 4096), (1, 4096))
"""Depth of a shard, and its sides in y and x."""
LARGEST_SLAB = 320 << 20
"""Bytes of the slices that are held to be written together."""
_COMPRESSOR = BloscCodec(cname="zstd", clevel=1, shuffle="shuffle")
"""Of EM images and ids it makes less than level 5 with bits shuffled, in a fifth of the time."""
_OF_BYTES = BloscCodec(cname="zstd", clevel=1, shuffle="noshuffle", blocksize=1 << 16)
"""A chunk of bytes in one block: as small as in the blocks that Blosc chooses, and quicker."""
_PIPELINE: dict[str, Any] = {
    "codec_pipeline.path": "zarrs.ZarrsCodecPipeline",
    "codec_pipeline.chunk_concurrent_minimum": 1,
    "codec_pipeline.chunk_concurrent_maximum": 1,
    "threading.max_workers": 1,
}
"""zarrs reads and writes several times as fast as zarr-python; with more threads the order of the
chunks in a shard, and with it the digest of predictions, would be another each time."""


def pyramid_levels(shape: tuple[int, int, int]) -> int:
    """Levels until the longer in-plane side is at most 256 pixels."""
    return 1 + max(0, math.ceil(math.log2(max(shape[1:]) / _SMALLEST_LEVEL)))


def shard_of(sides: tuple[int, int], voxel_bytes: int) -> tuple[int, int, int]:
    """z, y, x of a shard of slices of ``sides`` (y, x).

    Slices are written a shard deep, so that a shard is written once; so many have to fit in memory.
    The wider they are, the flatter the shards, which become as many files.

    Parameters
    ----------
    voxel_bytes
        Of a voxel of all that is written together.
    """
    widest = min(max(sides), _SHARDS[-1][1])
    plane_bytes = math.prod(sides) * voxel_bytes
    for depth, side in _SHARDS:
        if widest <= side and depth * plane_bytes <= LARGEST_SLAB:
            return (depth, side, side)
    return (1, _SHARDS[-1][1], _SHARDS[-1][1])


def stored_bytes(shape: tuple[int, int, int], levels: int, voxel_bytes: int) -> int:
    """What the levels of a stack of ``shape`` (z, y, x) take on disk, where nothing is compressed.

    Chunks are stored whole, also where they reach beyond an edge.
    """
    depth, *sides = shape
    chunks = [
        math.prod(
            math.ceil(whole / 2**level / side) for whole, side in zip(sides, CHUNK[1:], strict=True)
        )
        for level in range(levels)
    ]
    return depth * sum(chunks) * math.prod(CHUNK) * voxel_bytes


@contextmanager
def our_codecs() -> Iterator[None]:
    """zarr's settings under which arrays are made or opened; see the reason beside them."""
    if not find_spec("zarrs"):
        yield
        return
    # zarr starts its threads at first use and keeps them: as many as may ever read at a time
    with zarr.config.set({"threading.max_workers": (os.cpu_count() or 1) + 4}):
        zarr.create_group(MemoryStore())
    with zarr.config.set(_PIPELINE):
        yield


def codec_of(dtype: np.dtype[np.generic]) -> BloscCodec:
    """How chunks of ``dtype`` are compressed."""
    return _OF_BYTES if dtype.itemsize == 1 else _COMPRESSOR


def create_level(
    group: zarr.Group,
    path: str,
    level: int,
    shape: tuple[int, int, int],
    dtype: np.dtype[np.generic],
    shard: tuple[int, int, int],
    *,
    compressed: bool = True,
) -> zarr.Array[Any]:
    """An empty array ``path`` for a level of the pyramid of a stack of ``shape`` (z, y, x).

    Parameters
    ----------
    shard
        z, y, x of its shards.
    compressed
        By :func:`codec_of`; otherwise chunks are stored as they are.
    """
    depth, height, width = shape
    return group.create_array(
        path,
        shape=(depth, -(-height >> level), -(-width >> level)),
        dtype=dtype,
        chunks=CHUNK,
        shards=shard,
        compressors=codec_of(dtype) if compressed else None,
        dimension_names=("z", "y", "x"),
    )


def multiscales(
    prefix: str,
    name: str,
    voxel_size: tuple[float, float, float],
    levels: int,
    first: int = 0,
    *,
    unit: bool = True,
) -> dict[str, Any]:
    """OME-Zarr 0.5 metadata of a pyramid.

    Parameters
    ----------
    prefix
        Path of the levels, without their number.
    voxel_size
        z, y, x in nm of level 0.
    first
        Slice of the volume that is slice 0 here.
    unit
        Whether the voxel size is in nm; ``False`` where nobody knows it.
    """
    z, y, x = voxel_size
    moved = [{"type": "translation", "translation": [first * z, 0.0, 0.0]}] if first else []
    datasets = [
        {
            "path": f"{prefix}/{level}" if prefix else str(level),
            "coordinateTransformations": [
                {"type": "scale", "scale": [z, y * 2**level, x * 2**level]},
                *moved,
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
