"""Linking of whole slices in memory, one after the other, to compare the block-wise way with."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from emsam.metrics.contingency import contingency
from emsam.segment.link import join_objects


def link_slices(slices: Iterable[np.ndarray], overlap: float) -> list[np.ndarray]:
    """By the rule of :func:`~emsam.segment.link.join_objects`.

    A slice without objects, such as a missing section, is passed over: the slices on both its
    sides are neighbours.

    Parameters
    ----------
    slices
        Ids (y, x) of one shape, numbered from 1, 0 is background; an id says nothing about the
        next slice.
    overlap
        In (0, 1).

    Returns
    -------
    list of ndarray
        For each slice a table int64: ``table[ids]`` are its objects by their ids in the volume.
        These are dense from 1; entry 0 is 0.
    """
    nodes: list[np.ndarray] = []  # node of each id of a slice; 0 where there is no such object
    pairs, shares_of = [np.empty((0, 2), np.uint64)], [np.empty(0)]
    count, before = 1, None
    for ids in slices:
        present = np.unique(ids)
        present = present[present > 0]
        node = np.zeros(int(present[-1]) + 1 if len(present) else 1, np.int64)
        node[present] = np.arange(count, count + len(present))
        count += len(present)
        nodes.append(node)
        if not len(present):
            continue
        numbered = node[ids]
        if before is not None:
            edges, shares = _overlaps(before, numbered)
            pairs.append(edges)
            shares_of.append(shares)
        before = numbered
    joined = join_objects(count, np.concatenate(pairs), np.concatenate(shares_of), overlap)
    return [joined[node] for node in nodes]


def _overlaps(before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (n, 2) uint64 of objects that overlap, and by how much."""
    table = contingency(before, after)
    both = table.of_objects
    rows, columns, shared = table.truth[both], table.pred[both], table.count[both]
    shares = shared / np.sqrt(table.truth_sizes[rows] * table.pred_sizes[columns])
    pairs = np.stack([table.truth_ids[rows], table.pred_ids[columns]], axis=1)
    return pairs.astype(np.uint64), shares
