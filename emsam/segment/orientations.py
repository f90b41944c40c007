"""Maps of a slice that was turned or mirrored, brought back and averaged."""

from __future__ import annotations

import numpy as np

from emsam.params import Params
from emsam.segment.channels import affinity_channels
from emsam.segment.offsets import partner_windows

Offset = tuple[int, int]


class MapAverage:
    """Mean of maps that a network predicted of one slice in several positions.

    An affinity knows directions: turned back, the one to the pixel on the right may be the one to
    the pixel below, or above. Where the offset that comes out is one of the network's, the values
    belong there. Where its opposite is, they belong to the pixel at its other end, and pixels
    whose partner lies outside the slice get nothing. Otherwise they are left out. All other
    channels only change places.

    Parameters
    ----------
    params
        ``params.maps`` are what the network predicts.
    """

    def __init__(self, params: Params) -> None:
        self._offsets = params.targets.offsets
        self._affinities = affinity_channels(params)
        self._sum: np.ndarray | None = None
        self._count: np.ndarray | None = None

    def add(self, maps: np.ndarray, orientation: int) -> None:
        """Take up maps (c, y, x) of the slice as :func:`emsam.data.patches.orient` turned it."""
        back = _turn_back(maps, orientation)
        if self._sum is None or self._count is None:
            self._sum = np.zeros(back.shape, np.float32)
            self._count = np.zeros(back.shape, np.float32)
        for channel, values in enumerate(back):
            place = self._place(channel, orientation)
            if place is None:
                continue
            target, offset = place
            here, there = partner_windows(values.shape, offset)
            self._sum[target][here] += values[there]
            self._count[target][here] += 1

    def mean(self) -> np.ndarray:
        """(c, y, x) float32; at least the upright position must have been added."""
        assert self._sum is not None
        return self._sum / self._count

    def _place(self, channel: int, orientation: int) -> tuple[int, Offset] | None:
        """Where a channel's values belong: the channel, and how far off they are to be read."""
        first = self._affinities.start
        if channel not in range(first, self._affinities.stop):
            return channel, (0, 0)
        dy, dx = _turn_offset_back(self._offsets[channel - first], orientation)
        if (dy, dx) in self._offsets:
            return first + self._offsets.index((dy, dx)), (0, 0)
        if (-dy, -dx) in self._offsets:
            return first + self._offsets.index((-dy, -dx)), (-dy, -dx)
        return None


def _turn_back(maps: np.ndarray, orientation: int) -> np.ndarray:
    """Undo :func:`emsam.data.patches.orient` for maps (c, y, x)."""
    unmirrored = maps[..., ::-1] if orientation >= 4 else maps
    return np.rot90(unmirrored, -(orientation % 4), axes=(1, 2))


def _turn_offset_back(offset: Offset, orientation: int) -> Offset:
    """The offset in the upright slice that ``offset`` is in the turned one."""
    dy, dx = offset
    if orientation >= 4:
        dx = -dx
    for _ in range(orientation % 4):  # np.rot90 puts pixel (x, n - 1 - y) at (y, x)
        dy, dx = dx, -dy
    return dy, dx
