"""Ids as an OME-Zarr label image: a pyramid in shards, each written once and by one worker."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr

from emsam.data.halving import halve_labels
from emsam.data.pyramid import create_level, multiscales, pyramid_levels
from emsam.documents import sync_path
from emsam.segment.blocks.files import (
    ids_file,
    read_arrays,
    shard_mark,
    slice_file,
    window_file,
    write_mark,
)
from emsam.segment.blocks.grid import Box, Grid
from emsam.segment.blocks.job import Job
from emsam.segment.blocks.join import slice_tables
from emsam.segment.blocks.runs import unpack

SHARD = (8, 2048, 2048)
"""33 million voxels: few files, and 134 or 268 MB while one is written."""
STORE = "store.zarr"
Shard = tuple[int, int, int]


def create_store(folder: Path, job: Job, objects: int) -> None:
    """Make the arrays of all levels; those that are there stay."""
    group = zarr.open_group(folder / STORE, mode="a", zarr_format=3)
    dtype = np.uint32 if objects < 2**32 else np.uint64
    for level in range(pyramid_levels(job.output_shape)):
        if str(level) not in group:
            create_level(group, str(level), level, job.output_shape, np.dtype(dtype), SHARD)


def describe_store(folder: Path, job: Job, name: str, about: Mapping[str, Any]) -> None:
    """Write the metadata: what any OME-Zarr reader wants, and what this is under "emsam"."""
    shapes = level_shapes(job)
    ome = multiscales("", name, job.voxel_size, len(shapes), unit=job.known_size)
    corner = (job.slices[0], job.region[0], job.region[2])
    offset = [at * side for at, side in zip(corner, job.voxel_size, strict=True)]
    for level in ome["multiscales"][0]["datasets"]:
        level["coordinateTransformations"].append({"type": "translation", "translation": offset})
    ome["image-label"] = {"version": "0.5"}
    group = zarr.open_group(folder / STORE, mode="a")
    group.attrs.put({"ome": ome, "emsam": dict(about)})


def level_shapes(job: Job) -> list[Shard]:
    """z, y, x of each level."""
    depth, height, width = job.output_shape
    return [
        (depth, -(-height >> level), -(-width >> level))
        for level in range(pyramid_levels(job.output_shape))
    ]


def shards(shape: Shard) -> Iterator[Shard]:
    """Index of each shard of a level."""
    counts = [math.ceil(side / part) for side, part in zip(shape, SHARD, strict=True)]
    yield from itertools.product(*map(range, counts))


def write_shard(folder: Path, job: Job, grid: Grid, level: int, shard: Shard) -> None:
    """Write a shard of a level from the windows, or from the level below it, which is whole."""
    mark = shard_mark(folder, level, shard)
    if mark.exists():
        return
    group = zarr.open_group(folder / STORE, mode="r+")
    array = group[str(level)]
    assert isinstance(array, zarr.Array)
    low = [at * side for at, side in zip(shard, SHARD, strict=True)]
    high = [min(at + side, whole) for at, side, whole in zip(low, SHARD, array.shape, strict=True)]
    box = Box(low[1], high[1], low[2], high[2])
    slab = np.zeros([b - a for a, b in zip(low, high, strict=True)], array.dtype)
    if level == 0:
        shifted = Box(
            box.y0 + grid.region.y0, box.y1 + grid.region.y0,
            box.x0 + grid.region.x0, box.x1 + grid.region.x0,
        )  # fmt: skip
        wanted = set(job.slices)
        for index, z in enumerate(range(low[0] + job.slices[0], high[0] + job.slices[0])):
            if z in wanted:
                slab[index] = final_ids(folder, grid, z, shifted)
    else:
        finer = group[str(level - 1)]
        assert isinstance(finer, zarr.Array)
        for index, z in enumerate(range(low[0], high[0])):
            plane = finer[z, 2 * box.y0 : 2 * box.y1, 2 * box.x0 : 2 * box.x1]
            slab[index] = halve_labels(np.asarray(plane))
    array[low[0] : high[0], box.y0 : box.y1, box.x0 : box.x1] = slab
    file = folder / STORE / str(level) / "c" / "/".join(map(str, shard))
    if file.exists():  # a shard of zeros is not stored
        sync_path(file)
    write_mark(mark)


def final_ids(folder: Path, grid: Grid, z: int, box: Box) -> np.ndarray:
    """Ids of the output in a box of slice ``z``, (y, x) int64."""
    out = np.zeros(box.shape, np.int64)
    tables = slice_tables(read_arrays(slice_file(folder, z)))
    ids = np.load(ids_file(folder, z), allow_pickle=False)
    for window, core in enumerate(grid.windows):
        part = core.common(box)
        if part.shape[0] <= 0 or part.shape[1] <= 0:
            continue
        runs = read_arrays(window_file(folder, z, window))["ids"]
        found = unpack(runs, core.shape, ids[tables[window]])
        out[part.inside(box)] = found[part.inside(core)]
    return out


def write_tiff(folder: Path, path: Path, job: Job, grid: Grid) -> Iterator[int]:
    """Write ids as pages of a TIFF, uint32; yields how many are written."""
    wanted = set(job.slices)
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        for count, z in enumerate(range(job.slices[0], job.slices[-1] + 1), start=1):
            if z in wanted:
                ids = final_ids(folder, grid, z, grid.region)
            else:
                ids = np.zeros(grid.region.shape, np.int64)
            writer.write(ids.astype(np.uint32), compression="zlib", metadata=None)
            yield count
