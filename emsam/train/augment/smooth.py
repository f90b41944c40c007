"""Smooth random fields."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


def smooth_field(knots: Tensor, size: int) -> Tensor:
    """Cubic B-spline surface over a patch; nowhere larger than its largest knot.

    Parameters
    ----------
    knots
        (..., y, x), at least 4 along each axis.

    Returns
    -------
    Tensor
        (..., size, size).
    """
    down = spline_basis(knots.shape[-2], size, knots.device)
    across = spline_basis(knots.shape[-1], size, knots.device)
    return down @ knots @ across.T


@lru_cache(maxsize=32)
def spline_basis(knots: int, size: int, device: torch.device) -> Tensor:
    """(size, knots) weights of a uniform cubic B-spline; each row adds up to 1.

    References
    ----------
    .. [1] Unser, Splines: a perfect fit for signal and image processing, IEEE Signal Processing
           Magazine 16(6), 1999 (equation of the cubic B-spline).
    """
    position = torch.linspace(1, knots - 2, size, dtype=torch.float64)[:, None]
    distance = (position - torch.arange(knots)).abs()
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = (2 - distance).clamp(min=0) ** 3 / 6
    return torch.where(distance < 1, near, far).float().to(device)
