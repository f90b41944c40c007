"""Objects of slices linked into objects of the volume."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from emsam.metrics.contingency import contingency
from emsam.segment.blocks.files import pair_file, read_arrays, slice_file, window_file, write_arrays
from emsam.segment.blocks.grid import Grid
from emsam.segment.blocks.join import slice_tables
from emsam.segment.blocks.runs import unpack
from emsam.segment.link import join_objects


def slice_pairs(folder: Path, slices: Sequence[int]) -> list[tuple[int, int]]:
    """Slices that are neighbours; those without objects, such as missing sections, are left out."""
    with_objects = [z for z in slices if len(read_arrays(slice_file(folder, z))["area"])]
    return list(pairwise(with_objects))


def count_shared(folder: Path, grid: Grid, before: int, after: int) -> None:
    """Write how many pixels the objects of two slices share, window by window."""
    path = pair_file(folder, before, after)
    if path.exists():
        return
    tables = [slice_tables(read_arrays(slice_file(folder, z))) for z in (before, after)]
    rows, columns, counts = [], [], []
    for window, box in enumerate(grid.windows):
        first, second = (
            unpack(read_arrays(window_file(folder, z, window))["ids"], box.shape, table[window])
            for z, table in zip((before, after), tables, strict=True)
        )
        found = contingency(first, second)
        both = found.of_objects
        rows.append(found.truth_ids[found.truth[both]])
        columns.append(found.pred_ids[found.pred[both]])
        counts.append(found.count[both])
    pairs = np.stack([np.concatenate(rows), np.concatenate(columns)], axis=1).astype(np.int64)
    unique, index = np.unique(pairs, axis=0, return_inverse=True)
    shared = np.bincount(index.ravel(), np.concatenate(counts), len(unique))
    write_arrays(path, {"pairs": unique, "shared": shared.astype(np.int64)})


def link_objects(
    folder: Path, slices: Sequence[int], pairs: Sequence[tuple[int, int]], overlap: float
) -> dict[int, np.ndarray]:
    """For each slice a table of the ids in the volume, by the rule of :func:`join_objects`.

    All overlaps are solved at once, so that neither windows nor workers decide on anything.
    """
    areas = {z: read_arrays(slice_file(folder, z))["area"] for z in slices}
    first = dict(zip(slices, np.cumsum([1, *(len(areas[z]) for z in slices)]), strict=False))
    edges, shares = [np.empty((0, 2), np.uint64)], [np.empty(0)]
    for before, after in pairs:
        found = read_arrays(pair_file(folder, before, after))
        a, b = found["pairs"].T - 1
        edges.append(np.stack([a + first[before], b + first[after]], axis=1).astype(np.uint64))
        shares.append(found["shared"] / np.sqrt(areas[before][a] * areas[after][b]))
    count = 1 + sum(map(len, areas.values()))
    joined = join_objects(count, np.concatenate(edges), np.concatenate(shares), overlap)
    return {
        z: np.concatenate([[0], joined[first[z] : first[z] + len(areas[z])]]).astype(np.int64)
        for z in slices
    }


def number_objects(folder: Path, slices: Sequence[int], *, anew: bool) -> dict[int, np.ndarray]:
    """For each slice a table of ids without links: of each slice from 1, or one after the other."""
    tables, count = {}, 0
    for z in slices:
        objects = len(read_arrays(slice_file(folder, z))["area"])
        tables[z] = np.arange(objects + 1, dtype=np.int64)
        tables[z][1:] += 0 if anew else count
        count += objects
    return tables
