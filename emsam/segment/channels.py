"""Which channel of a network's output means what: the one place that knows."""

from __future__ import annotations

from emsam.params import TargetParams

FOREGROUND = "foreground"
DISTANCE = "distance"


def affinity_channels(targets: TargetParams) -> slice:
    """Channels of the affinities, in the order of ``targets.offsets``."""
    return slice(1, 1 + len(targets.offsets))


def channel_index(name: str, targets: TargetParams) -> int | None:
    """Index of a channel in maps (c, y, x); ``None`` where the network does not predict it."""
    return {FOREGROUND: 0}.get(name)
