"""Objects of a window, and what must be known of them to join those of neighbouring windows."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from emsam.params import Params
from emsam.segment.blocks.files import write_arrays
from emsam.segment.blocks.grid import Box, Grid
from emsam.segment.blocks.runs import pack, row_runs
from emsam.segment.fragments import interior_map
from emsam.segment.instances import make_instances

RIGHT, BELOW = "right", "below"


def write_window(
    path: Path,
    maps: np.ndarray | None,
    grid: Grid,
    window: int,
    params: Params,
    excluded: np.ndarray | None,
    damaged: list[Box],
) -> None:
    """Find the objects of a window and keep them in a file.

    Parameters
    ----------
    maps
        (c, y, x) of :meth:`Grid.outer`; ``None`` for a window without objects.
    excluded
        (y, x) bool, pixels that belong to no object whatever the maps say.
    damaged
        Parts of the slice that the window met and could not read.
    """
    outer, core = grid.outer(window), grid.windows[window]
    if maps is None:
        ids, interior = np.zeros(outer.shape, np.int32), np.zeros(outer.shape, np.float32)
    else:
        ids, interior = find_objects(maps, params), interior_map(maps)
        if excluded is not None:
            ids[excluded] = 0
    inside = core.inside(outer)
    count = int(ids.max()) + 1
    arrays = measure(ids[inside], interior[inside], count, core)
    arrays["ids"] = pack(ids[inside])
    for name, box in strips(grid, window).items():
        arrays[name] = pack(ids[box.inside(outer)])
    arrays["damaged"] = np.array([(b.y0, b.y1, b.x0, b.x1) for b in damaged]).reshape(-1, 4)
    write_arrays(path, arrays)


def find_objects(maps: np.ndarray, params: Params) -> np.ndarray:
    """Ids (y, x) int32 of all objects, sure or not: of one that is cut, a part is seen here."""
    segment = params.segment.model_copy(update={"min_confidence": 0.0})
    ids, _ = make_instances(maps, params.model_copy(update={"segment": segment}))
    return ids


def strips(grid: Grid, window: int) -> dict[str, Box]:
    """Where a window's objects are compared with those of its neighbours.

    Around each border, half as wide as what both sides see: farther out an object may look
    another way, for what lies beyond is not seen. Those to the right and below are named as such,
    the others by the window on whose right or below they are.
    """
    reach, row = grid.overlap // 2, window // grid.across
    found = {}
    for name, first, second in (
        (RIGHT, window, window + 1),
        (RIGHT, window - 1, window),
        (BELOW, window, window + grid.across),
        (BELOW, window - grid.across, window),
    ):
        if first < 0 or second >= len(grid.windows):
            continue
        if name == RIGHT and {first // grid.across, second // grid.across} != {row}:
            continue
        border = grid.windows[second]
        if name == RIGHT:
            line = Box(border.y0, border.y1, border.x0, border.x0)
        else:
            line = Box(border.y0, border.y0, border.x0, border.x1)
        found[f"{name}-{first}"] = line.grown(reach, grid.region)
    return found


def measure(ids: np.ndarray, interior: np.ndarray, count: int, core: Box) -> dict[str, np.ndarray]:
    """Sums and bounding boxes of the ids 0 to ``count`` - 1 in a plane whose corner is ``core``'s.

    Returns
    -------
    dict
        ``area``, ``sure`` (sum of the interior), ``sum_y``, ``sum_x``, float64, and ``box``
        (count, 4) int64, y0, y1, x0, x1; of an id without pixels y0 > y1.
    """
    start, length = row_runs(ids)
    who = ids.ravel()[start]
    y, x = np.divmod(start, ids.shape[1])
    y, x = y + core.y0, x + core.x0
    box = np.tile(np.array([2**62, -1, 2**62, -1]), (count, 1))
    np.minimum.at(box[:, 0], who, y)
    np.maximum.at(box[:, 1], who, y + 1)
    np.minimum.at(box[:, 2], who, x)
    np.maximum.at(box[:, 3], who, x + length)
    sure = np.add.reduceat(interior.ravel(), start, dtype=np.float64)

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(who, values, count)

    return {
        "area": total(length),
        "sure": total(sure),
        "sum_y": total(length * y),
        "sum_x": total(length * (x + (length - 1) / 2)),
        "box": box,
    }
