"""Fragments joined over their region adjacency graph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from bioimage_cpp.graph import (
    RegionAdjacencyGraph,
    project_node_labels_to_pixels,
    region_adjacency_graph,
)
from bioimage_cpp.graph.agglomeration import GaspClusterPolicy
from bioimage_cpp.graph.features import affinity_features
from bioimage_cpp.graph.multicut import KernighanLinMulticut, MulticutObjective
from scipy.special import logit

from emsam.segment.evidence import sure_logit


def join_by_affinity(
    fragments: np.ndarray,
    affinities: np.ndarray,
    offsets: Sequence[tuple[int, int]],
    merge: float,
    *,
    multicut: bool = False,
) -> np.ndarray:
    """Join neighbouring fragments between which the mean affinity is high.

    The affinity of two fragments is the mean over every offset and every pair of pixels of which
    one lies in each. Agglomeration joins the surest pair first, as long as its mean is above
    ``merge``; a joined pair's boundaries are averaged by their length (average linkage [1]_).
    A multicut instead weighs all boundaries against each other [2]_: a boundary costs the log
    odds of its affinity, times its length.

    Parameters
    ----------
    fragments
        (y, x) uint32: every pixel belongs to one; all 0 where there is none.
    affinities
        (k, y, x) float32 probabilities; entry k belongs to a pixel and its partner
        ``offsets[k]`` away.
    merge
        Affinity, in (0, 1), above which a boundary speaks for joining.

    Returns
    -------
    ndarray
        (y, x) int64, not dense.

    References
    ----------
    .. [1] Bailoni et al., GASP, a generalized framework for agglomerative clustering of signed
           graphs, CVPR 2022.
    .. [2] Beier et al., Multicut brings automated neurite segmentation closer to human
           performance, Nature Methods 14:101, 2017.
    """
    graph = region_adjacency_graph(fragments, number_of_threads=1)
    if graph.number_of_edges == 0:
        return fragments.astype(np.int64)
    channels = np.ascontiguousarray(affinities, np.float32)
    features = affinity_features(graph, fragments, channels, offsets, number_of_threads=1)
    mean, count = features[:, 0].astype(np.float64), features[:, 1].astype(np.float64)
    join = _multicut if multicut else _agglomerate
    joined = join(graph, mean, count, merge)
    ids = project_node_labels_to_pixels(graph, fragments, joined, number_of_threads=1)
    return ids.astype(np.int64) + 1


def _agglomerate(
    graph: RegionAdjacencyGraph, mean: np.ndarray, count: np.ndarray, merge: float
) -> np.ndarray:
    policy = GaspClusterPolicy(linkage="mean")
    joined: np.ndarray = policy.optimize(graph, mean - merge, edge_sizes=count)
    return joined


def _multicut(
    graph: RegionAdjacencyGraph, mean: np.ndarray, count: np.ndarray, merge: float
) -> np.ndarray:
    cost = (sure_logit(mean) - logit(merge)) * count / count.mean()
    joined: np.ndarray = KernighanLinMulticut().optimize(MulticutObjective(graph, cost))
    return joined
