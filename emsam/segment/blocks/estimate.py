"""What a segmentation will take, measured on a part of it; nothing is written."""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from torch import nn

from emsam.model.folding import fold_norms
from emsam.params import Params
from emsam.segment.blocks.budget import plan_memory
from emsam.segment.blocks.files import window_file
from emsam.segment.blocks.maps import SliceMaps
from emsam.segment.blocks.options import Options
from emsam.segment.blocks.prepare import plan_job, weights_of
from emsam.segment.blocks.source import Source
from emsam.segment.blocks.window import write_window

_OUTPUT = 1.4
"""Bytes of the pyramid for each byte of packed windows, as seen on tissue; an estimate."""


def estimate(
    network: nn.Module, image: str, out: Path, params: Params, options: Options
) -> dict[str, Any]:
    """Seconds, bytes of memory and bytes of disk, from one window of the middle slice.

    Raises
    ------
    InputError
        As :func:`~emsam.segment.blocks.run.segment_volume`.
    """
    weights = weights_of(network)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        job = plan_job(image, options, params, weights, folder / "fetched")
        budget = plan_memory(
            job, params, len(weights), memory=options.memory, workers=options.workers,
            processes=options.processes,
        )  # fmt: skip
        grid, z = job.grid(params), job.slices[len(job.slices) // 2]
        source = Source(job, folder / "fetched")
        maps = SliceMaps(
            fold_norms(network), source, z, grid, params, bf16=job.bf16, plane=job.shape[1:],
            turn=threading.Lock(), keep=0,
        )  # fmt: skip
        window = len(grid.windows) // 2
        began = time.monotonic()
        found = maps.window(window)
        network_seconds = time.monotonic() - began
        groups = {grid.group_of[tile] for tile in grid.tiles_of(grid.outer(window))}
        path = window_file(folder, z, window)
        write_window(path, found, grid, window, params, None, [])
        objects_seconds = time.monotonic() - began - network_seconds
        packed = path.stat().st_size / grid.windows[window].pixels
        source.close()
    voxels = len(job.slices) * grid.region.pixels
    seconds = len(job.slices) * (
        network_seconds / len(groups) * len(grid.groups) + objects_seconds * len(grid.windows)
    )
    return {
        "slices": len(job.slices),
        "region": list(job.region),
        "windows": len(job.slices) * len(grid.windows),
        "tiles": len(job.slices) * len(grid.group_of),
        "voxels": voxels,
        "workers": budget.workers,
        "seconds": seconds / (budget.workers if options.processes else 1),
        "memory_bytes": budget.total,
        "disk_bytes": round(voxels * packed * (1 + _OUTPUT)) + len(weights),
    }


def estimate_lines(expected: dict[str, Any]) -> list[str]:
    """For people."""
    hours = expected["seconds"] / 3600
    y0, y1, x0, x1 = expected["region"]
    return [
        f"{expected['slices']} slices of {y1 - y0} × {x1 - x0} pixels, {expected['windows']} "
        f"windows, {expected['tiles']} tiles, {expected['workers']} workers",
        f"time    {hours:.1f} h" if hours >= 1 else f"time    {expected['seconds']:.0f} s",
        f"memory  {expected['memory_bytes'] / 1e9:.1f} GB",
        f"disk    {expected['disk_bytes'] / 1e9:.2f} GB",
    ]
