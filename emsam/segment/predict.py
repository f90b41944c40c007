"""Maps of a whole slice, tile by tile."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from emsam.data.patches import ORIENTATIONS, orient
from emsam.params import Params
from emsam.segment.orientations import MapAverage
from emsam.segment.tiling import Tiling


def predict_maps(model: nn.Module, image: np.ndarray, params: Params) -> np.ndarray:
    """Probabilities of a slice of any size.

    The slice is mirrored at its border and cut into tiles (:class:`Tiling`); each gives the part
    without its halo, so nothing is blended. The result has no seams where the halo is at least
    as wide as what the network looks at.

    Parameters
    ----------
    model
        Maps (n, 1, y, x) images to logits; it is used as it stands (put it in eval mode).
    image
        (y, x) float32 in [0, 1].

    Returns
    -------
    ndarray
        (c, y, x) float32 in [0, 1].
    """
    tiling = Tiling.of(params)
    core, halo = tiling.core, tiling.halo
    ends = [tiling.reach(side) for side in image.shape]
    rows, columns = (
        mirrored(-halo, end + halo, side) for end, side in zip(ends, image.shape, strict=True)
    )
    padded = image[np.ix_(rows, columns)]
    maps: np.ndarray | None = None
    for corners in _batches(ends[0], ends[1], tiling):
        tiles = np.stack(
            [padded[y : y + core + 2 * halo, x : x + core + 2 * halo] for y, x in corners]
        )
        for (y, x), inner in zip(corners, predict_tiles(model, tiles, params, halo), strict=True):
            if maps is None:
                maps = np.empty((len(inner), *image.shape), np.float32)
            there = maps[:, y : y + core, x : x + core]
            there[...] = inner[:, : there.shape[1], : there.shape[2]]
    assert maps is not None  # a slice has at least one tile
    return maps


def predict_tiles(
    model: nn.Module,
    tiles: np.ndarray,
    params: Params,
    halo: int,
    *,
    maps: int | None = None,
    bf16: bool = False,
) -> np.ndarray:
    """Probabilities of tiles without their halos.

    With ``segment.augmentations = 8`` the network sees each tile in each of its eight positions
    and the maps are averaged.

    Parameters
    ----------
    tiles
        (n, y, x) float32 in [0, 1]; sides are multiples of 16.
    maps
        How many, the first ones; by default all.
    bf16
        Let torch calculate with 16 bits where it knows that it may.

    Returns
    -------
    ndarray
        (n, c, y, x) float32 in [0, 1].
    """
    _, height, width = tiles.shape
    inner = slice(0, maps), slice(halo, height - halo), slice(halo, width - halo)
    if params.segment.augmentations == 1:
        return _forward(model, tiles, inner, bf16=bf16)
    whole = (slice(None),) * 3
    averages = [MapAverage(params) for _ in tiles]
    for orientation in range(ORIENTATIONS):
        turned = np.stack([orient(each, orientation) for each in tiles])
        for average, seen in zip(averages, _forward(model, turned, whole, bf16=bf16), strict=True):
            average.add(seen, orientation)
    return np.stack([average.mean()[inner] for average in averages])


def _forward(
    model: nn.Module, tiles: np.ndarray, part: tuple[slice, ...], *, bf16: bool
) -> np.ndarray:
    """(n, y, x) → (n, c, y, x) float32 in [0, 1], a part of c, y and x."""
    device = next(model.parameters()).device
    batch = torch.from_numpy(tiles)[:, None].to(device)
    batch = batch.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        out: np.ndarray = model(batch)[:, *part].float().sigmoid().cpu().numpy()
    return out


def mirrored(first: int, end: int, side: int) -> np.ndarray:
    """Where in 0 to ``side`` - 1 the positions ``first`` to ``end`` - 1 of a mirrored image lie.

    It is mirrored as often as needed, which a slice smaller than a halo relies on; the pixel at
    the border comes twice, as in numpy's "symmetric".
    """
    within = np.arange(first, end) % (2 * side)
    return np.minimum(within, 2 * side - 1 - within)


def _batches(height: int, width: int, tiling: Tiling) -> Iterator[list[tuple[int, int]]]:
    """Corners of tiles that the network sees together."""
    core = tiling.core
    corners = [(y, x) for y in range(0, height, core) for x in range(0, width, core)]
    for start in range(0, len(corners), tiling.batch):
        yield corners[start : start + tiling.batch]
