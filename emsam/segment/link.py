"""Objects of neighbouring slices joined into objects of the volume."""

from __future__ import annotations

import numpy as np
from bioimage_cpp.graph import UndirectedGraph
from bioimage_cpp.graph.multicut import GreedyAdditiveMulticut, MulticutObjective
from scipy.special import logit

from emsam.segment.evidence import sure_logit


def join_objects(count: int, pairs: np.ndarray, shares: np.ndarray, overlap: float) -> np.ndarray:
    """Which objects of the slices are one object of the volume.

    Two objects of neighbouring slices overlap by the pixels that they share over the geometric
    mean of their sizes: 1 where they are the same, and the parts of a branch still have their
    share. A multicut joins them where that is above ``overlap``, unless other overlaps speak
    against it: each weighs as much as its log odds.

    Parameters
    ----------
    count
        Objects of all slices, numbered in order of slices from 1, and one more.
    pairs
        (n, 2) uint64, objects of neighbouring slices that overlap.
    shares
        (n,) by how much.
    overlap
        In (0, 1).

    Returns
    -------
    ndarray
        (count,) int64: ids in the volume, dense from 1; entry 0 is 0.

    References
    ----------
    .. [1] Keuper et al., Efficient decomposition of image and mesh graphs by lifted multicuts,
           ICCV 2015 (greedy additive edge contraction, the solver).
    """
    graph = UndirectedGraph.from_edges(count, pairs)
    weights = sure_logit(shares) - logit(overlap)
    labels = GreedyAdditiveMulticut().optimize(MulticutObjective(graph, weights))
    _, dense = np.unique(labels[1:], return_inverse=True)
    return np.concatenate([[0], dense.reshape(-1) + 1]).astype(np.int64)
