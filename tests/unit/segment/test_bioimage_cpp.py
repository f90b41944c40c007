"""bioimage-cpp is young: what we use of it is checked against scikit-image and plain numpy."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import skimage.segmentation
from bioimage_cpp.graph import region_adjacency_graph
from bioimage_cpp.graph.features import affinity_features
from bioimage_cpp.graph.multicut import (
    GreedyAdditiveMulticut,
    KernighanLinMulticut,
    MulticutObjective,
)
from bioimage_cpp.segmentation import mutex_watershed, watershed, watershed_from_affinities
from scipy.ndimage import gaussian_filter, label, minimum_filter

OFFSETS = ((0, 1), (1, 0), (0, 3), (3, 0), (9, 9), (9, -9))


@pytest.fixture
def landscape() -> np.ndarray:
    """Smooth hills whose heights all differ."""
    noise = np.random.default_rng(3).random((90, 120))
    return gaussian_filter(noise, 3).astype(np.float32)


@pytest.fixture
def markers(landscape: np.ndarray) -> np.ndarray:
    return label(minimum_filter(landscape, 9) == landscape)[0].astype(np.uint32)


def same_partition(a: np.ndarray, b: np.ndarray) -> float:
    """Share of neighbouring pixels of which both say alike whether they belong together."""
    agree = [
        ((a[:-1] == a[1:]) == (b[:-1] == b[1:])).mean(),
        ((a[:, :-1] == a[:, 1:]) == (b[:, :-1] == b[:, 1:])).mean(),
    ]
    return float(np.mean(agree))


def test_watershed(landscape: np.ndarray, markers: np.ndarray) -> None:
    mask = landscape < np.quantile(landscape, 0.8)
    ours = watershed(landscape, markers, mask=mask)
    theirs = skimage.segmentation.watershed(landscape, markers.astype(np.int32), mask=mask)
    np.testing.assert_array_equal(ours > 0, theirs > 0)
    assert (ours == theirs).mean() > 0.98  # scikit-image waits in line, this one does not
    np.testing.assert_array_equal(ours[markers > 0], np.where(mask, markers, 0)[markers > 0])


def test_watershed_on_affinities_follows_the_strongest_path() -> None:
    affinities = np.full((2, 1, 6), 0.9, np.float32)
    affinities[0, 0] = [0.9, 0.9, 0.1, 0.9, 0.9, 0]  # the wall is between pixels 2 and 3
    seeds = np.array([[1, 0, 0, 0, 0, 2]], np.uint32)
    ids = watershed_from_affinities(affinities, OFFSETS[:2], seeds)
    np.testing.assert_array_equal(ids, [[1, 1, 1, 2, 2, 2]])


def test_affinities_between_regions() -> None:
    rng = np.random.default_rng(1)
    ids = np.kron(np.arange(1, 13).reshape(3, 4), np.ones((10, 9), int)).astype(np.uint32)
    affinities = rng.random((len(OFFSETS), *ids.shape), dtype=np.float32)
    graph = region_adjacency_graph(ids)
    features = affinity_features(graph, ids, affinities, OFFSETS)
    expected: dict[tuple[int, int], list[float]] = {}
    for channel, (dy, dx) in enumerate(OFFSETS):
        for y, x in np.ndindex(ids.shape):
            if 0 <= y + dy < ids.shape[0] and 0 <= x + dx < ids.shape[1]:
                pair = sorted((int(ids[y, x]), int(ids[y + dy, x + dx])))
                expected.setdefault((pair[0], pair[1]), []).append(affinities[channel, y, x])
    edges = [tuple(edge) for edge in graph.uv_ids().tolist()]
    adjacent = {(a, b) for a, b in expected if a != b and (b - a == 4 or (b == a + 1 and a % 4))}
    assert set(edges) == adjacent
    for edge, (mean, count) in zip(edges, features, strict=True):
        assert count == len(expected[edge])
        assert mean == pytest.approx(np.mean(expected[edge]), abs=1e-5)


def test_multicut_finds_the_cheapest_partition() -> None:
    """Every partition of six nodes, counted out."""
    ids = np.array([[1, 2, 3], [4, 5, 6]], np.uint32)
    graph = region_adjacency_graph(ids)
    edges = graph.uv_ids().astype(int)
    for seed in range(20):
        costs = np.random.default_rng(seed).normal(size=len(edges))
        costs[(edges == 0).any(axis=1)] = 0

        def cut(nodes: np.ndarray, costs: np.ndarray = costs) -> float:
            return float(costs[nodes[edges[:, 0]] != nodes[edges[:, 1]]].sum())

        best = min(cut(np.array([0, *nodes])) for nodes in partitions(6))
        found = KernighanLinMulticut().optimize(MulticutObjective(graph, costs))
        greedy = GreedyAdditiveMulticut().optimize(MulticutObjective(graph, costs))
        assert cut(found) == pytest.approx(best, abs=0.25)
        assert cut(found) <= cut(greedy) + 1e-9


def partitions(count: int) -> list[list[int]]:
    """Every way to group ``count`` things, as group numbers."""
    found: list[list[int]] = [[1]]
    for _ in range(count - 1):
        found = [[*row, new] for row in found for new in range(1, max(row) + 2)]
    return found


def test_mutex_watershed_of_certain_affinities(markers: np.ndarray, landscape: np.ndarray) -> None:
    ids = watershed(landscape, markers)
    weights = np.zeros((len(OFFSETS), *ids.shape), np.float32)
    for channel, (dy, dx) in enumerate(OFFSETS):
        alike = np.roll(ids, (-dy, -dx), (0, 1)) == ids
        weights[channel] = alike if channel < 2 else ~alike
    found = mutex_watershed(weights * 0.8 + 0.1, OFFSETS, 2)
    assert same_partition(found, ids) == 1


def test_no_library_call_depends_on_the_run() -> None:
    """The same input gives the same objects; a review and a benchmark rely on it."""
    rng = np.random.default_rng(0)
    ids = label(rng.random((60, 60)) > 0.4)[0].astype(np.uint32) + 1
    affinities = rng.random((len(OFFSETS), 60, 60), dtype=np.float32)
    features = [
        affinity_features(region_adjacency_graph(ids), ids, affinities, OFFSETS) for _ in range(3)
    ]
    for one, other in pairwise(features):
        np.testing.assert_array_equal(one, other)
