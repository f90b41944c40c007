"""Tiles of a scene, small enough to send: what the browser asked for, and nothing else.

A tile is 256 × 256 pixels of one layer, slice and level of the pyramid, a chunk of the store.
Grey values are sent as PNG; ids as deflated little-endian uint16 or, where they are larger, uint32,
so that colours, outlines and what is under the mouse are made in the browser.
"""

from __future__ import annotations

import json
import struct
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import imagecodecs
import numpy as np

from dashboards.viewer.scene import IMAGE, Scene
from emsam.errors import InputError

TILE = 256
MOST_TILES = 128
"""Tiles of one answer, whatever is asked: 8.4 million pixels."""
CACHE_BYTES = 128 << 20
"""Encoded tiles that are kept for all users together."""


@dataclass(frozen=True, order=True)
class Tile:
    """Address of a tile; ``row`` and ``column`` count tiles of its level."""

    layer: str
    z: int
    level: int
    row: int
    column: int


class TileCache:
    """Encoded tiles, the oldest thrown out first; threads may share it.

    Parameters
    ----------
    limit
        Bytes.
    """

    def __init__(self, limit: int = CACHE_BYTES) -> None:
        self._limit, self._bytes = limit, 0
        self._tiles: OrderedDict[tuple[str, Tile], bytes] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """Bytes that it holds."""
        return self._bytes

    def get(self, token: str, tile: Tile) -> bytes | None:
        """An encoded tile of the scene ``token``."""
        with self._lock:
            found = self._tiles.get((token, tile))
            if found is not None:
                self._tiles.move_to_end((token, tile))
            return found

    def put(self, token: str, tile: Tile, encoded: bytes) -> None:
        """Keep an encoded tile."""
        with self._lock:
            before = self._tiles.pop((token, tile), b"")
            self._tiles[token, tile] = encoded
            self._bytes += len(encoded) - len(before)
            while self._bytes > self._limit:
                _, old = self._tiles.popitem(last=False)
                self._bytes -= len(old)


def asked_tiles(scene: Scene, asked: object) -> list[Tile]:
    """The tiles among ``asked`` that the scene has, at most :data:`MOST_TILES`.

    What comes from a browser can be anything; what is no address of a tile is left out.
    """
    tiles = []
    for each in asked[:MOST_TILES] if isinstance(asked, list) else ():
        if not isinstance(each, list) or len(each) != 5 or not isinstance(each[0], str):
            continue
        if all(type(number) is int for number in each[1:]) and _is_there(
            tile := Tile(*each), scene
        ):
            tiles.append(tile)
    return list(dict.fromkeys(tiles))


def _is_there(tile: Tile, scene: Scene) -> bool:
    if tile.layer not in scene.layers() or tile.z not in scene.slices:
        return False
    if not 0 <= tile.level < scene.levels or min(tile.row, tile.column) < 0:
        return False
    height, width = (-(-side >> tile.level) for side in scene.volume.shape[1:])
    return tile.row * TILE < height and tile.column * TILE < width


def encode_tiles(scene: Scene, tiles: Iterable[Tile], cache: TileCache) -> dict[Tile, bytes]:
    """Encoded tiles; those of one layer, slice and level that are not cached are read together."""
    found = {tile: cache.get(scene.token, tile) for tile in tiles}
    absent = sorted(tile for tile, encoded in found.items() if encoded is None)
    for (layer, z, level), group in groupby(absent, key=lambda t: (t.layer, t.z, t.level)):
        for block in _blocks(list(group)):
            top, left = (min(getattr(t, k) for t in block) for k in ("row", "column"))
            bottom, right = (max(getattr(t, k) for t in block) + 1 for k in ("row", "column"))
            rows, columns = slice(top * TILE, bottom * TILE), slice(left * TILE, right * TILE)
            window = scene.read(layer, z, level, rows, columns)
            for tile in block:
                y, x = (tile.row - top) * TILE, (tile.column - left) * TILE
                encoded = _encode(layer, window[y : y + TILE, x : x + TILE], scene)
                cache.put(scene.token, tile, encoded)
                found[tile] = encoded
    return {tile: encoded for tile, encoded in found.items() if encoded is not None}


def _blocks(tiles: list[Tile]) -> list[list[Tile]]:
    """Tiles that fill a rectangle mostly are read as one, others each alone."""
    rows, columns = ({getattr(t, k) for t in tiles} for k in ("row", "column"))
    area = (max(rows) - min(rows) + 1) * (max(columns) - min(columns) + 1)
    return [tiles] if area <= min(2 * len(tiles), MOST_TILES) else [[tile] for tile in tiles]


def _encode(layer: str, window: np.ndarray, scene: Scene) -> bytes:
    if layer == IMAGE:
        # three times as fast as Pillow, and as small: the noise of EM has no long matches
        grey = np.ascontiguousarray(window)
        return bytes(imagecodecs.png_encode(grey, level=1, strategy=imagecodecs.PNG.STRATEGY.RLE))
    if window.dtype.itemsize > 4 and window.size and int(window.max()) >= 1 << 32:
        raise InputError(
            f"{scene.volume.path}: id {int(window.max())} is too large to be shown; ingest labels "
            "with ids below 4294967296"
        )
    narrow = not window.size or int(window.max()) < 1 << 16
    ids = np.ascontiguousarray(window, "<u2" if narrow else "<u4")
    return bytes(imagecodecs.deflate_encode(ids, level=1))  # zlib's format, in less time and bytes


def pack(header: Mapping[str, Any], tiles: Mapping[Tile, bytes]) -> bytes:
    """One message: length of the header as uint32, the header as JSON, the tiles."""
    rows = [[t.layer, t.z, t.level, t.row, t.column, len(encoded)] for t, encoded in tiles.items()]
    text = json.dumps({**header, "tiles": rows}, allow_nan=False).encode()
    return b"".join([struct.pack("<I", len(text)), text, *tiles.values()])
