"""Objects of neighbouring slices joined into objects of the volume."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from bioimage_cpp.graph import UndirectedGraph
from bioimage_cpp.graph.multicut import GreedyAdditiveMulticut, MulticutObjective
from scipy.special import logit

from emsam.metrics.contingency import contingency
from emsam.segment.evidence import sure_logit


def link_slices(slices: Iterable[np.ndarray], overlap: float) -> list[np.ndarray]:
    """Which objects of the slices are one object of the volume.

    Two objects of neighbouring slices overlap by the pixels that they share over the geometric
    mean of their sizes: 1 where they are the same, and the parts of a branch still have their
    share. A multicut joins them where that is above ``overlap``, unless other overlaps speak
    against it: each weighs as much as its log odds. A slice without objects, such as a missing
    section, is passed over: the slices on both its sides are neighbours. One slice after the
    other is read, and two are kept in memory.

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

    References
    ----------
    .. [1] Keuper et al., Efficient decomposition of image and mesh graphs by lifted multicuts,
           ICCV 2015 (greedy additive edge contraction, the solver).
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


def join_objects(count: int, pairs: np.ndarray, shares: np.ndarray, overlap: float) -> np.ndarray:
    """The multicut of :func:`link_slices`.

    Parameters
    ----------
    count
        Objects of all slices, numbered in order of slices from 1, and one more.
    pairs
        (n, 2) uint64, objects of neighbouring slices that overlap.
    shares
        (n,) by how much.

    Returns
    -------
    ndarray
        (count,) int64: ids in the volume, dense from 1; entry 0 is 0.
    """
    graph = UndirectedGraph.from_edges(count, pairs)
    weights = sure_logit(shares) - logit(overlap)
    labels = GreedyAdditiveMulticut().optimize(MulticutObjective(graph, weights))
    _, dense = np.unique(labels[1:], return_inverse=True)
    return np.concatenate([[0], dense.reshape(-1) + 1]).astype(np.int64)
