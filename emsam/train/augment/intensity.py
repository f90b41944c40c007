"""Changes of grey values: what preparation, microscope and detector do to an EM image.

Each function takes images (k, y, x) float32, the parameters of its change and its random numbers,
and returns images of the same shape. They are clipped to [0, 1] once, by who calls them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool1d, conv2d, pad

from emsam.params.augment import Change, MissingChange, PoissonChange
from emsam.train.augment.draw import Draw
from emsam.train.augment.smooth import smooth_field, spline_basis

_DRIFT_KNOTS = 5
_CURTAIN_KNOTS = 5
_CURTAIN_VARIATION = 0.4
"""Deviation along a stripe, part of that across stripes."""


def curtains(images: Tensor, change: Change, draw: Draw) -> Tensor:
    """Stripes of the ion beam (FIB-SEM): a random profile that changes little along a stripe.

    Half of the patches get them along x, as those of a turned volume would be.
    """
    size = images.shape[-1]
    profile = draw.normal(1, size) + _CURTAIN_VARIATION * draw.normal(_CURTAIN_KNOTS, size)
    stripes = spline_basis(_CURTAIN_KNOTS, size, images.device) @ avg_pool1d(profile, 3, 1, 1)
    stripes = stripes / stripes.std((1, 2), keepdim=True)
    along_x = draw.uniform(0, 1) < 0.5
    stripes = torch.where(_each(along_x), stripes.transpose(1, 2), stripes)
    return images + _each(draw.uniform(0, change.strength)) * stripes


def defocus(images: Tensor, change: Change, draw: Draw) -> Tensor:
    """Mean over a disk, half a pixel wider than drawn; its rim is smooth, the border mirrored."""
    reach = min(math.ceil(change.strength), images.shape[-1] - 1)
    axis = torch.arange(-reach, reach + 1, dtype=torch.float32, device=images.device)
    radius = _each(draw.uniform(0, change.strength))
    disk = (radius + 1 - torch.hypot(axis[:, None], axis)).clamp(0, 1)
    disk = disk / disk.sum((1, 2), keepdim=True)
    padded = pad(images[None], [reach] * 4, mode="reflect")
    return conv2d(padded, disk[:, None], groups=len(images))[0]


def blur(images: Tensor, change: Change, draw: Draw) -> Tensor:
    """Gaussian blur, as a product with a banded matrix along each axis.

    For a few kernels that differ from image to image this is faster than convolution. At the
    border the weights inside the patch add up to 1.
    """
    axis = torch.arange(images.shape[-1], dtype=torch.float32, device=images.device)
    sigma = _each(draw.uniform(0, change.strength).clamp(min=1e-3))
    square = ((axis[:, None] - axis) / sigma) ** 2  # (k, y, y)
    weights = torch.exp(-0.5 * square) * (square < 16)  # tiny weights are slow to multiply
    weights = weights / weights.sum(2, keepdim=True)
    return weights @ images @ weights.transpose(1, 2)


def poisson(images: Tensor, change: PoissonChange, draw: Draw) -> Tensor:
    """Noise of counting: the variance of a pixel is its brightness over the photons of white."""
    photons = _each(change.photons * 10 ** draw.uniform(0, 1))
    rates = images.clamp(min=0) * photons
    return torch.poisson(rates, generator=draw.generator()) / photons


def drift(images: Tensor, change: Change, draw: Draw) -> Tensor:
    """Contrast and brightness that change slowly over the patch."""
    fields = smooth_field(draw.uniform(-1, 1, 2, _DRIFT_KNOTS, _DRIFT_KNOTS), images.shape[-1])
    factor, shift = 1 + change.strength * fields[:, 0], change.strength / 2 * fields[:, 1]
    return (images - 0.5) * factor + 0.5 + shift


def gain(images: Tensor, change: Change, draw: Draw) -> Tensor:
    """Contrast around middle grey."""
    factor = 1 + draw.uniform(-change.strength, change.strength)
    return (images - 0.5) * _each(factor) + 0.5


def offset(images: Tensor, change: Change, draw: Draw) -> Tensor:
    """Brightness."""
    return images + _each(draw.uniform(-change.strength, change.strength))


def gamma(images: Tensor, change: Change, draw: Draw) -> Tensor:
    """Contrast of dark against bright."""
    exponent = draw.uniform(-change.strength, change.strength).exp()
    return images.clamp(0, 1) ** _each(exponent)


def noise(images: Tensor, change: Change, draw: Draw) -> Tensor:
    """Gaussian noise of the detector."""
    deviation = _each(draw.uniform(0, change.strength))
    field = torch.randn(images.shape, generator=draw.generator(), device=images.device)
    return images + deviation * field


def missing(images: Tensor, change: MissingChange, draw: Draw) -> Tensor:
    """Rectangles without tissue: black, white, or as grey as the patch is on average.

    The labels stay: a network that sees the tissue around such a place can go on across it.
    """
    size = images.shape[-1]
    axis = torch.arange(size, device=images.device)
    mean = images.mean((1, 2))
    fills = torch.stack((torch.zeros_like(mean), torch.ones_like(mean), mean), dim=1)
    wanted = draw.uniform(0, change.count)
    for number in range(change.count):
        sides = draw.uniform(0.2, 1, 2) * change.strength * size
        begins = draw.uniform(0, 1, 2) * (size - sides)
        kind = draw.uniform(0, 3).long()[:, None]
        past, before = axis >= begins[..., None], axis < (begins + sides)[..., None]  # (k, 2, axis)
        inside = past & before
        here = inside[:, 0, :, None] & inside[:, 1, None, :] & _each(wanted >= number)
        images = torch.where(here, _each(fills.gather(1, kind)[:, 0]), images)
    return images


Look = Callable[[Tensor, Any, Draw], Tensor]
LOOKS: Mapping[str, Look] = {
    "curtains": curtains, "defocus": defocus, "blur": blur, "poisson": poisson, "drift": drift,
    "gain": gain, "offset": offset, "gamma": gamma, "noise": noise, "missing": missing,
}  # fmt: skip
"""In the order in which an image gets them: section, optics, counting, detector, loss."""


def _each(values: Tensor) -> Tensor:
    """A number for each image: (k,) → (k, 1, 1)."""
    return values[:, None, None]
