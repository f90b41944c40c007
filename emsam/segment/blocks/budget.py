"""How much memory a segmentation takes, and how many workers that allows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emsam.errors import InputError
from emsam.params import Params
from emsam.segment.blocks.grid import Grid
from emsam.segment.blocks.job import Job
from emsam.segment.blocks.output import SHARD
from emsam.segment.channels import used_maps

_BASE = 450 << 20
"""A process with torch and all libraries, before it has read a voxel."""
_FORWARD = 700
"""Bytes a pixel of a batch while the network works; of `unet`, on a CPU. A ViT-T takes less."""
_OBJECTS = {"seeds": 48, "distance": 96}
"""Bytes a pixel of a window while its objects are made, beside the maps."""
_OTHER_OBJECTS = 144
"""Of the methods that build a graph; measured as those above by the peak of a process."""


@dataclass(frozen=True)
class Budget:
    """What fits.

    Attributes
    ----------
    workers
        As many as were asked for, or fewer.
    keep
        Bytes of maps that each keeps for its next windows.
    total
        Bytes of all of them.
    """

    workers: int
    keep: int
    total: int


def plan_memory(
    job: Job, params: Params, weights: int, *, memory: float, workers: int, processes: bool
) -> Budget:
    """As many workers as fit into ``memory`` GB; their number never changes the result.

    Parameters
    ----------
    weights
        Bytes of the network.
    processes
        Whether each worker is a process with a network of its own.

    Raises
    ------
    InputError
        Not even one worker fits.
    """
    grid = job.grid(params)
    limit = round(memory * 1e9)
    shared = _BASE + weights
    forward = grid.tiling.pixels * _FORWARD
    window = _window_bytes(grid, params)
    kept = _kept_bytes(grid, params)
    least = 0
    for count in range(workers, 0, -1):
        places = count if processes else 1
        fixed = places * (shared + forward) + count * window
        keep = min(kept, (limit - fixed) // count)
        if keep >= 0:
            return Budget(count, keep, fixed + count * keep)
        least = fixed
    raise InputError(
        f"--memory {memory:g}: one window of {job.side} pixels takes {least / 1e9:.1f} GB; give "
        "more memory, or a smaller --window (which may change objects at its borders)"
    )


def _window_bytes(grid: Grid, params: Params) -> int:
    """The larger of a window that is segmented and a shard that is written."""
    pixels = max(grid.outer(w).pixels for w in range(len(grid.windows)))
    seen = (np.sqrt(pixels) + 2 * (grid.core + 2 * grid.tiling.halo)) ** 2
    objects = _OBJECTS.get(params.segment.method, _OTHER_OBJECTS)
    window = round(pixels * (4 * used_maps(params) + objects) + seen * 16)
    shard = int(np.prod(SHARD)) * 8 + 2 * SHARD[1] * SHARD[2] * 8
    return max(window, shard)


def _kept_bytes(grid: Grid, params: Params) -> int:
    """Maps of the tiles that the next row of windows needs again, and the next window."""
    tile = grid.core**2 * 4 * used_maps(params)
    ring = 1 + -(-grid.overlap // grid.core)
    wide = -(-grid.region.shape[1] // grid.core) + grid.tiling.batch
    tall = -(-min(grid.side, grid.region.shape[0]) // grid.core)
    if len(grid.windows) == 1:
        return 0
    rows = 2 * ring * wide if len(grid.windows) > grid.across else 0
    return tile * (rows + (tall + 2 * ring) * (grid.tiling.batch + 2 * ring))
