"""Maps of a slice, window by window; no tile goes through the network twice if memory allows."""

from __future__ import annotations

import threading

import numpy as np
from torch import nn

from emsam.params import Params
from emsam.segment.blocks.grid import Box, Grid, Tile
from emsam.segment.blocks.source import Source
from emsam.segment.channels import used_maps
from emsam.segment.predict import mirrored, predict_tiles


class SliceMaps:
    """Maps of slice ``z``; windows are to be asked for in their order.

    Parameters
    ----------
    turn
        Held while the network works: threads share a device, and one of them uses it at a time.
    keep
        Bytes of maps that are kept for later windows.

    Attributes
    ----------
    damaged
        Parts of the slice that could not be decoded, of those that were read.
    """

    def __init__(
        self,
        network: nn.Module,
        source: Source,
        z: int,
        grid: Grid,
        params: Params,
        *,
        bf16: bool,
        plane: tuple[int, int],
        turn: threading.Lock,
        keep: int,
    ) -> None:
        self.damaged: list[Box] = []
        self._network, self._source, self._z = network, source, z
        self._grid, self._params, self._bf16 = grid, params, bf16
        self._plane, self._turn, self._keep = plane, turn, keep
        self._kept: dict[Tile, np.ndarray] = {}

    def window(self, window: int) -> np.ndarray:
        """Maps (c, y, x) float32 of :meth:`Grid.outer` of a window."""
        box = self._grid.outer(window)
        tiles = list(self._grid.tiles_of(box))
        have = [tile for tile in tiles if tile in self._kept]
        groups = sorted({self._grid.group_of[tile] for tile in tiles if tile not in self._kept})
        out: np.ndarray | None = None
        for tile in have:
            out = self._paste(out, box, tile, self._kept[tile])
        for tile, maps in self._predict(groups):
            if self._grid.box_of(tile).common(box).pixels:
                out = self._paste(out, box, tile, maps)
            if self._grid.last_use.get(tile, -1) > window:
                self._kept[tile] = maps
        self._forget(window)
        assert out is not None
        return out

    def _predict(self, groups: list[int]) -> list[tuple[Tile, np.ndarray]]:
        """Maps (c, core, core) of all tiles of some groups."""
        tiles = [tile for group in groups for tile in self._grid.groups[group]]
        if not tiles:
            return []
        halo, maps_used = self._grid.tiling.halo, used_maps(self._params)
        image, (top, left) = self._image(tiles)
        found: list[tuple[Tile, np.ndarray]] = []
        for group in groups:
            boxes = [self._grid.box_of(tile) for tile in self._grid.groups[group]]
            stack = np.stack(
                [
                    image[box.y0 - halo - top : box.y1 + halo - top,
                          box.x0 - halo - left : box.x1 + halo - left]
                    for box in boxes
                ]
            )  # fmt: skip
            with self._turn:
                maps = predict_tiles(
                    self._network, stack, self._params, halo, maps=maps_used, bf16=self._bf16
                )
            # copies: a view would keep the halos and the whole batch
            found += zip(self._grid.groups[group], map(np.ascontiguousarray, maps), strict=True)
        return found

    def _image(self, tiles: list[Tile]) -> tuple[np.ndarray, tuple[int, int]]:
        """What the network sees of ``tiles``, mirrored at the slice's border, and its corner."""
        halo = self._grid.tiling.halo
        boxes = [self._grid.box_of(tile) for tile in tiles]
        first = min(b.y0 for b in boxes) - halo, min(b.x0 for b in boxes) - halo
        end = max(b.y1 for b in boxes) + halo, max(b.x1 for b in boxes) + halo
        rows, columns = (mirrored(*each) for each in zip(first, end, self._plane, strict=True))
        box = Box(int(rows.min()), int(rows.max()) + 1, int(columns.min()), int(columns.max()) + 1)
        grey, damaged = self._source.image(self._z, box)
        self.damaged += [each for each in damaged if each not in self.damaged]
        return grey[np.ix_(rows - box.y0, columns - box.x0)], first

    def _paste(self, out: np.ndarray | None, box: Box, tile: Tile, maps: np.ndarray) -> np.ndarray:
        """Put a tile into the maps of ``box``, which are made with the first one."""
        if out is None:
            out = np.empty((len(maps), *box.shape), np.float32)
        whole = self._grid.box_of(tile)
        part = whole.common(box)
        out[:, *part.inside(box)] = maps[:, *part.inside(whole)]
        return out

    def _forget(self, window: int) -> None:
        """Drop what no later window needs, and of the rest what is needed last if it is much."""
        last_use = self._grid.last_use
        for tile in [tile for tile in self._kept if last_use[tile] <= window]:
            del self._kept[tile]
        size = sum(maps.nbytes for maps in self._kept.values())
        for tile in sorted(self._kept, key=lambda tile: last_use[tile], reverse=True):
            if size <= self._keep:
                return
            size -= self._kept.pop(tile).nbytes
