"""Maps of a whole slice, tile by tile."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from emsam.data.patches import ORIENTATIONS, orient
from emsam.params import Params, SegmentParams
from emsam.segment.orientations import MapAverage

_BATCH = 4


def predict_maps(model: nn.Module, image: np.ndarray, params: Params) -> np.ndarray:
    """Probabilities of a slice of any size.

    With ``segment.augmentations = 8`` the network sees the slice in each of its eight positions
    and the maps are averaged.

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
    if params.segment.augmentations == 1:
        return _predict_tiles(model, image, params.segment)
    average = MapAverage(params)
    for orientation in range(ORIENTATIONS):
        turned = np.ascontiguousarray(orient(image, orientation))
        average.add(_predict_tiles(model, turned, params.segment), orientation)
    return average.mean()


def _predict_tiles(model: nn.Module, image: np.ndarray, params: SegmentParams) -> np.ndarray:
    """Maps (c, y, x) of a slice, tile by tile.

    The slice is mirrored at its border and cut into tiles of one size; each gives the part
    without its halo, so nothing is blended. The result has no seams where the halo is at least
    as wide as what the network looks at.
    """
    device = next(model.parameters()).device
    height, width = image.shape
    core = params.tile - 2 * params.halo
    padded = _pad_to_tiles(image, params)
    maps: np.ndarray | None = None
    with torch.inference_mode():
        for corners in _batches(height, width, core):
            stack = np.stack([padded[y : y + params.tile, x : x + params.tile] for y, x in corners])
            batch = torch.from_numpy(stack)[:, None].to(device)
            batch = batch.contiguous(memory_format=torch.channels_last)
            out = model(batch).float().sigmoid().cpu().numpy()  # (n, c, tile, tile)
            if maps is None:
                maps = np.empty((out.shape[1], height, width), np.float32)
            for (y, x), tile in zip(corners, out, strict=True):
                rows, columns = min(core, height - y), min(core, width - x)
                inner = tile[:, params.halo :, params.halo :][:, :rows, :columns]
                maps[:, y : y + rows, x : x + columns] = inner
    assert maps is not None  # a slice has at least one tile
    return maps


def _pad_to_tiles(image: np.ndarray, params: SegmentParams) -> np.ndarray:
    """The image with a halo before it, and behind it what completes the last tile."""
    core = params.tile - 2 * params.halo
    after = [-side % core + params.halo for side in image.shape]
    # numpy mirrors as often as needed, which a slice smaller than a halo relies on
    return np.pad(image, [(params.halo, more) for more in after], mode="symmetric")


def _batches(height: int, width: int, core: int) -> Iterator[list[tuple[int, int]]]:
    corners = [(y, x) for y in range(0, height, core) for x in range(0, width, core)]
    for start in range(0, len(corners), _BATCH):
        yield corners[start : start + _BATCH]
