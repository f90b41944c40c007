"""Maps of a network's output by what they mean."""

from __future__ import annotations

import numpy as np

from emsam.params import Params


def foreground_map(maps: np.ndarray, params: Params) -> np.ndarray:
    """(y, x) probability that a pixel is of an object, from ``maps`` (c, y, x)."""
    return maps[params.maps.index("foreground")]


def affinity_maps(maps: np.ndarray, params: Params) -> np.ndarray:
    """(offsets, y, x) affinities in the order of ``params.targets.offsets``."""
    return maps[affinity_channels(params)]


def affinity_channels(params: Params) -> slice:
    """Channels of the affinities."""
    first = next(k for k, name in enumerate(params.maps) if name.startswith("affinity"))
    return slice(first, first + len(params.targets.offsets))


def distance_map(maps: np.ndarray, params: Params) -> np.ndarray | None:
    """(y, x) signed distance to the boundary in pixels; ``None`` where it is not predicted.

    The inverse of what :mod:`emsam.train.targets` makes of a distance.
    """
    if "distance" not in params.maps:
        return None
    squashed = 2 * maps[params.maps.index("distance")].astype(np.float32) - 1
    return params.targets.distance_scale * np.arctanh(np.clip(squashed, -0.999, 0.999))
