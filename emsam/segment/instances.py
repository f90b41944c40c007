"""From probability maps to instance ids."""

from __future__ import annotations

import numpy as np

from emsam.params import Params
from emsam.segment.channels import affinity_maps, distance_map
from emsam.segment.distance import split_at_necks
from emsam.segment.fragments import drop_small, grow_seeds, interior_map, make_fragments
from emsam.segment.mutex import join_unless_excluded
from emsam.segment.region_graph import join_by_affinity


def make_instances(maps: np.ndarray, params: Params) -> tuple[np.ndarray, np.ndarray]:
    """Objects of a slice, by ``params.segment.method``.

    Parameters
    ----------
    maps
        (c, y, x) in [0, 1], those of ``params.maps``.

    Returns
    -------
    ids : ndarray
        (y, x) int32, 0 = background or membrane; numbered from 1.
    confidence : ndarray
        Mean interior probability of each object, float32; entry k belongs to id k + 1.

    Raises
    ------
    InputError
        ``segment.method = distance`` with a network that predicts no distance.
    """
    interior = interior_map(maps)
    mask = maps[0] > params.foreground
    ids = _METHODS[params.segment.method](maps, interior, mask, params)
    return _finish(drop_small(ids, params.segment.min_size), interior, params.min_confidence)


def _seeds(maps: np.ndarray, interior: np.ndarray, mask: np.ndarray, params: Params) -> np.ndarray:
    return grow_seeds(interior, params.threshold, params.segment.min_size, mask)


def _region_graph(
    maps: np.ndarray, interior: np.ndarray, mask: np.ndarray, params: Params
) -> np.ndarray:
    segment = params.segment
    affinities = affinity_maps(maps, params)
    ids = join_by_affinity(
        make_fragments(interior, affinities[:2], params.threshold, segment.min_size),
        affinities,
        params.targets.offsets,
        segment.merge,
        multicut=segment.method == "multicut",
    )
    return np.where(mask, ids, 0)


def _mutex(maps: np.ndarray, interior: np.ndarray, mask: np.ndarray, params: Params) -> np.ndarray:
    return join_unless_excluded(
        affinity_maps(maps, params),
        params.targets.offsets,
        mask,
        stride=params.segment.mutex_stride,
        bias=params.segment.mutex_bias,
    )


def _distance(
    maps: np.ndarray, interior: np.ndarray, mask: np.ndarray, params: Params
) -> np.ndarray:
    return split_at_necks(distance_map(maps, params), mask, params.segment.seed_depth)


_METHODS = {
    "seeds": _seeds,
    "agglomerate": _region_graph,
    "multicut": _region_graph,
    "mutex": _mutex,
    "distance": _distance,
}


def _finish(
    ids: np.ndarray, interior: np.ndarray, min_confidence: float
) -> tuple[np.ndarray, np.ndarray]:
    """Dense ids of the objects that are sure enough, and the mean interior of each."""
    flat = ids.ravel()
    size = np.bincount(flat)
    total = np.bincount(flat, interior.ravel(), len(size))
    kept = np.flatnonzero(size)
    kept = kept[kept > 0]
    size, total = size[kept], total[kept]
    confidence = (total / size).astype(np.float32)
    sure = confidence >= min_confidence
    number = np.zeros(int(flat.max(initial=0)) + 1, np.int32)
    number[kept[sure]] = np.arange(1, np.count_nonzero(sure) + 1)
    return number[ids], confidence[sure]
