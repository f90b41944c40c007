"""How a slice is cut: tiles for the network, windows of tiles for the objects.

The cuts depend on the volume, the region and the parameters alone, never on memory or workers, and
so does the result. Tiles start at the slice's corner, so that the maps of a region are those of
the whole slice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from emsam.segment.tiling import Tiling

Tile = tuple[int, int]
"""Row and column of a tile in the grid of its slice."""


@dataclass(frozen=True)
class Box:
    """A part of a slice; the ends do not belong to it."""

    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def shape(self) -> tuple[int, int]:
        return self.y1 - self.y0, self.x1 - self.x0

    @property
    def pixels(self) -> int:
        return max(0, self.y1 - self.y0) * max(0, self.x1 - self.x0)

    def grown(self, by: int, within: Box) -> Box:
        """Larger by ``by`` on each side, as far as ``within`` goes."""
        return Box(self.y0 - by, self.y1 + by, self.x0 - by, self.x1 + by).common(within)

    def common(self, other: Box) -> Box:
        return Box(
            max(self.y0, other.y0), min(self.y1, other.y1),
            max(self.x0, other.x0), min(self.x1, other.x1),
        )  # fmt: skip

    def inside(self, outer: Box) -> tuple[slice, slice]:
        """Index of this box in an array of ``outer``."""
        return (
            slice(self.y0 - outer.y0, self.y1 - outer.y0),
            slice(self.x0 - outer.x0, self.x1 - outer.x0),
        )


@dataclass(frozen=True)
class Grid:
    """Tiles and windows of a region of a slice.

    Attributes
    ----------
    region
        What is segmented.
    tiling
        Of the slice.
    reach
        y and x where its last tiles end.
    side
        Longest side of a window; a region that is less is one window.
    overlap
        What a window sees of its neighbours, pixels.
    """

    region: Box
    tiling: Tiling
    reach: tuple[int, int]
    side: int
    overlap: int

    @property
    def core(self) -> int:
        """Side of a tile without its halo."""
        return self.tiling.core

    @cached_property
    def windows(self) -> tuple[Box, ...]:
        """Row by row; together they are the region."""
        rows, columns = self._spans
        return tuple(
            Box(top * self.core, bottom * self.core, left * self.core, right * self.core).common(
                self.region
            )
            for top, bottom in rows
            for left, right in columns
        )

    @cached_property
    def groups(self) -> tuple[tuple[Tile, ...], ...]:
        """Tiles that go through the network together, of one window each.

        Which ones is fixed: a network may give another last digit in other company.
        """
        rows, columns = self._spans
        batch = self.tiling.batch
        found = []
        for top, bottom in rows:
            for left, right in columns:
                tiles = [(y, x) for y in range(top, bottom) for x in range(left, right)]
                found += [tiles[i : i + batch] for i in range(0, len(tiles), batch)]
        return tuple(map(tuple, found))

    @cached_property
    def group_of(self) -> dict[Tile, int]:
        """Index of the group of each tile."""
        return {tile: index for index, group in enumerate(self.groups) for tile in group}

    @property
    def across(self) -> int:
        """Windows in a row."""
        return len(self._spans[1])

    def outer(self, window: int) -> Box:
        """What is looked at to find the objects of a window."""
        return self.windows[window].grown(self.overlap, self.region)

    def tiles_of(self, box: Box) -> Iterator[Tile]:
        """Tiles whose cores meet ``box``."""
        for y in range(box.y0 // self.core, -(-box.y1 // self.core)):
            for x in range(box.x0 // self.core, -(-box.x1 // self.core)):
                yield y, x

    def box_of(self, tile: Tile) -> Box:
        """Core of a tile; it may reach beyond the slice."""
        y, x = tile[0] * self.core, tile[1] * self.core
        bottom, right = self.reach
        return Box(y, min(y + self.core, bottom), x, min(x + self.core, right))

    @cached_property
    def last_use(self) -> dict[Tile, int]:
        """Index of the last window that needs a tile."""
        return {tile: w for w in range(len(self.windows)) for tile in self.tiles_of(self.outer(w))}

    @cached_property
    def _spans(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """First tile and end of each row and of each column of windows."""
        region = self.region
        return self._cut(region.y0, region.y1), self._cut(region.x0, region.x1)

    def _cut(self, first: int, end: int) -> list[tuple[int, int]]:
        start, stop = first // self.core, -(-end // self.core)
        count = math.ceil((end - first) / max(self.side, self.core))
        step = math.ceil((stop - start) / count)
        return [(at, min(at + step, stop)) for at in range(start, stop, step)]
