"""Maps of a network's output by what they mean."""

from __future__ import annotations

import numpy as np

from emsam.errors import InputError
from emsam.params import Params

INTERIOR = 3
"""Maps of which the interior is made: the foreground and the affinities to the next pixels."""


def require_channels(params: Params) -> None:
    """Raise :class:`InputError` where ``segment.method`` needs what is not predicted."""
    if params.segment.method == "distance" and "distance" not in params.channels:
        raise InputError(
            "segment.method = 'distance': the network predicts no distance; take seeds, or train "
            "with distance in targets.channels"
        )


def used_maps(params: Params) -> int:
    """How many maps ``segment.method`` looks at, the first ones."""
    if params.segment.method == "distance":
        return len(params.maps)
    if params.segment.method == "seeds":
        return INTERIOR
    return affinity_channels(params).stop


def affinity_maps(maps: np.ndarray, params: Params) -> np.ndarray:
    """(offsets, y, x) affinities in the order of ``params.targets.offsets``."""
    return maps[affinity_channels(params)]


def affinity_channels(params: Params) -> slice:
    """Channels of the affinities, which follow the foreground."""
    return slice(1, 1 + len(params.targets.offsets))


def distance_map(maps: np.ndarray, params: Params) -> np.ndarray:
    """(y, x) signed distance to the boundary in pixels.

    The inverse of what :mod:`emsam.train.targets` makes of a distance.

    Raises
    ------
    InputError
        It is not predicted; see :func:`require_channels`.
    """
    require_channels(params)
    squashed = 2 * maps[params.maps.index("distance")].astype(np.float32) - 1
    return params.targets.distance_scale * np.arctanh(np.clip(squashed, -0.999, 0.999))
