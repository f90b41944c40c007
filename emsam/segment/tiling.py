"""How a slice is cut for the network."""

from __future__ import annotations

import math
from dataclasses import dataclass

from emsam.params import Params

BATCH = 4
"""Tiles that the network sees together."""
_TOKEN = 16
"""Sides of what a network sees are multiples of it."""


@dataclass(frozen=True)
class Tiling:
    """Tiles from the slice's corner on; each gives its core, which its halo surrounds.

    A transformer sees every tile whole, so tiles have the side that it is used to, and a batch
    holds several. To a network of convolutions alone the side of a tile is nothing: there the
    batch is one tile of as many pixels, whose halo takes less, and the last ones end with the
    slice. There the halo is a multiple of 16 pixels, so that tiles are pooled as the whole slice
    would be.

    Attributes
    ----------
    core
        Side of a tile without its halo, pixels.
    halo
        Pixels on each side of a core.
    batch
        Tiles that the network sees together.
    any_side
        Whether tiles may be smaller than the others.
    """

    core: int
    halo: int
    batch: int
    any_side: bool

    @classmethod
    def of(cls, params: Params, batch: int = BATCH) -> Tiling:
        """That of a network, which sees as many pixels together as ``batch`` tiles have."""
        tile, halo = params.segment.tile, params.segment.halo
        if params.model.name != "unet":
            return cls(tile - 2 * halo, halo, batch, any_side=False)
        halo = _whole_tokens(halo)
        side = max(tile * math.isqrt(batch), 2 * halo + _TOKEN)
        return cls(side - 2 * halo, halo, 1, any_side=True)

    @property
    def pixels(self) -> int:
        """Of a batch, halos too."""
        return self.batch * (self.core + 2 * self.halo) ** 2

    def reach(self, side: int) -> int:
        """Where the last core of a slice of ``side`` pixels ends."""
        return _whole_tokens(side) if self.any_side else side + -side % self.core


def _whole_tokens(pixels: int) -> int:
    return pixels + -pixels % _TOKEN
