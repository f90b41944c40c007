"""Deformation: one sampling grid a patch, through which image and ids are read once."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from emsam.params.augment import Change, ElasticChange
from emsam.train.augment.draw import Draw
from emsam.train.augment.smooth import smooth_field

Move = Callable[[Tensor, Change, Draw], Tensor]


def centred_grid(size: int, device: torch.device) -> Tensor:
    """y and x of every pixel of a patch, from its centre: (2, size, size)."""
    axis = torch.arange(size, dtype=torch.float32, device=device) - (size - 1) / 2
    return torch.stack(torch.meshgrid(axis, axis, indexing="ij"))


def slip(where: Tensor, change: Change, draw: Draw) -> Tensor:
    """Shift what lies beyond a line: two scans, or two tiles, that do not meet.

    Parameters
    ----------
    where
        y and x, from the centre, at which each pixel is read: (k, 2, y, x).
    """
    line = draw.uniform(-0.4, 0.4)[:, None, None] * where.shape[-1]
    shift = draw.uniform(-change.strength, change.strength)[:, None, None]
    along_x = draw.uniform(0, 1)[:, None, None] < 0.5  # rows slide sideways, or columns up
    y, x = where.unbind(1)
    beyond_y, beyond_x = (y > line) * shift, (x > line) * shift
    return torch.stack((y + beyond_x * ~along_x, x + beyond_y * along_x), dim=1)


def elastic(where: Tensor, change: Change, draw: Draw) -> Tensor:
    """Smooth displacement: the knots of a B-spline are shifted, each axis by itself.

    References
    ----------
    .. [1] Ronneberger et al., U-Net, MICCAI 2015 (random displacement on a coarse grid).
    """
    assert isinstance(change, ElasticChange)
    size = where.shape[-1]
    knots = 3 + max(1, round(size / change.spacing))
    shifts = draw.uniform(-change.strength, change.strength, 2, knots, knots)
    return where + smooth_field(shifts, size)


def affine(where: Tensor, change: Change, draw: Draw) -> Tensor:
    """Small rotation, shear and stretch."""
    matrix = torch.eye(2, device=where.device) + draw.uniform(
        -change.strength, change.strength, 2, 2
    )
    return torch.einsum("kij,kjyx->kiyx", matrix, where)


def scale(where: Tensor, change: Change, draw: Draw) -> Tensor:
    """Another pixel size."""
    factor = (1 + change.strength) ** draw.uniform(-1, 1)
    return where * factor[:, None, None, None]


MOVES: Mapping[str, Move] = {"slip": slip, "elastic": elastic, "affine": affine, "scale": scale}
"""In the order in which they are composed, from the patch towards the volume."""


def read_at(images: Tensor, ids: Tensor, where: Tensor) -> tuple[Tensor, Tensor]:
    """Read images between their pixels, and ids at the nearest one.

    Coordinates that leave the window are shifted back into it as a whole; where they reach
    further than the window does, they are squeezed. So nothing is padded or mirrored.

    Parameters
    ----------
    images, ids
        Windows (k, side, side), float and int32.
    where
        y and x in pixels of the window: (k, 2, y, x).

    Returns
    -------
    images, ids : Tensor
        (k, y, x).
    """
    side = images.shape[-1]
    where = _fit(where, side - 1)
    grid = (2 * where / (side - 1) - 1).flip(1).permute(0, 2, 3, 1)  # (k, y, x, 2): x first
    warped = grid_sample(images[:, None], grid, align_corners=True)[:, 0]
    y, x = where.round().long().unbind(1)
    nearest = ids.flatten(1).gather(1, (y * side + x).flatten(1))
    return warped, nearest.reshape(warped.shape)


def _fit(where: Tensor, last: int) -> Tensor:
    """Coordinates moved, and if need be squeezed, into [0, last]."""
    low, high = where.amin((2, 3), keepdim=True), where.amax((2, 3), keepdim=True)
    squeeze = (last / (high - low)).clamp(max=1)
    begin = torch.minimum(low.clamp(min=0), last - (high - low) * squeeze)
    return ((where - low) * squeeze + begin).clamp(0, last)
