"""Objects of windows joined into objects of a slice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from emsam.metrics.contingency import contingency
from emsam.segment.blocks.files import read_arrays, slice_file, window_file, write_arrays
from emsam.segment.blocks.grid import Grid
from emsam.segment.blocks.runs import unpack
from emsam.segment.blocks.window import BELOW, RIGHT, strips

_SAME = 0.5
"""Share of the smaller of two parts that the other must cover for both to be one object.

Of two windows one may see in two parts what joins beyond its sight, so the smaller part counts.
"""
_SUMS = ("area", "sure", "sum_y", "sum_x")


def join_windows(folder: Path, z: int, grid: Grid, min_confidence: float) -> None:
    """Write the objects of slice ``z``, whose windows are written all.

    Two parts that two windows see around their border are one object where they overlap by more
    than half of the smaller one. Objects that are less sure than ``min_confidence`` are dropped
    now that they are whole. Ids are dense from 1, in the order of windows.
    """
    files = [window_file(folder, z, w) for w in range(len(grid.windows))]
    blocks = [read_arrays(file, but="ids") for file in files]
    starts = np.cumsum([0, *(len(block["area"]) for block in blocks)])
    number = _components(_same(blocks, starts, grid), int(starts[-1]))
    count = int(number.max()) + 1
    of_windows = {key: np.concatenate([block[key] for block in blocks]) for key in (*_SUMS, "box")}
    sums = {key: np.bincount(number, of_windows[key], count) for key in _SUMS}
    box = np.tile(np.array([2**62, -1, 2**62, -1]), (count, 1))
    for column, extreme in enumerate((np.minimum, np.maximum) * 2):
        extreme.at(box[:, column], number, of_windows["box"][:, column])
    is_object = sums["area"] > 0
    is_object[number[starts[:-1]]] = False  # each window's id 0
    confidence = (sums["sure"] / np.maximum(sums["area"], 1)).astype(np.float32)
    is_object &= confidence >= min_confidence
    dense = np.where(is_object, np.cumsum(is_object), 0)
    kept = {key: values[is_object] for key, values in sums.items()}
    damaged = np.unique(np.concatenate([block["damaged"] for block in blocks]), axis=0)
    write_arrays(
        slice_file(folder, z),
        kept
        | {"box": box[is_object], "damaged": damaged, "starts": starts}
        | {"table": dense[number].astype(np.int64)},
    )


def slice_tables(objects: dict[str, np.ndarray]) -> list[np.ndarray]:
    """For each window, the object of the slice that each of its ids is; 0 is none."""
    return np.split(objects["table"], objects["starts"][1:-1])


def _same(blocks: list[dict[str, np.ndarray]], starts: np.ndarray, grid: Grid) -> np.ndarray:
    """Pairs (n, 2) of nodes, ids of all windows one after the other, that are one object."""
    pairs = [np.empty((0, 2), np.int64)]
    for first in range(len(blocks)):
        for name, second in ((RIGHT, first + 1), (BELOW, first + grid.across)):
            box = strips(grid, first).get(f"{name}-{first}")
            if box is None:
                continue
            seen = [unpack(blocks[w][f"{name}-{first}"], box.shape) for w in (first, second)]
            table = contingency(seen[0], seen[1])
            both = table.of_objects
            rows, columns = table.truth[both], table.pred[both]
            smaller = np.minimum(table.truth_sizes[rows], table.pred_sizes[columns])
            same = table.count[both] > _SAME * smaller
            nodes = [
                table.truth_ids[rows[same]] + starts[first],
                table.pred_ids[columns[same]] + starts[second],
            ]
            pairs.append(np.stack(nodes, axis=1).astype(np.int64))
    return np.concatenate(pairs)


def _components(pairs: np.ndarray, nodes: int) -> np.ndarray:
    """Number of each node's component, in the order of their first nodes."""
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), (nodes, nodes))
    _, labels = connected_components(graph, directed=False)
    _, first = np.unique(labels, return_index=True)
    order = np.empty(len(first), np.int64)
    order[np.argsort(first)] = np.arange(len(first))
    numbered: np.ndarray = order[labels]
    return numbered
