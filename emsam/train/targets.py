"""What the network is taught, from instance ids."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from emsam.data.patches import UNLABELLED
from emsam.params import Params, TargetParams
from emsam.segment.offsets import partner_windows

_STEPS = ((0, 1), (1, 0), (0, -1), (-1, 0))
"""To the four neighbours of a pixel, y,x."""


def make_targets(labels: Tensor, params: Params) -> tuple[Tensor, Tensor]:
    """Targets of a batch and where they are known.

    Parameters
    ----------
    labels
        Instance ids (n, y, x), 0 = background or membrane,
        :data:`~emsam.data.patches.UNLABELLED` where nobody has labelled.

    Returns
    -------
    target : Tensor
        (n, c, y, x) float32 in [0, 1]; channel k is the map ``params.maps[k]``:

        - *foreground*: pixels of an object that do not touch another object;
        - *boundary*: pixels with a 4-neighbour of another id, 0 included;
        - *affinity dy,dx*: the pixel and the one (dy, dx) away belong to the same object;
        - *distance*: (1 + tanh(d / scale)) / 2 of the signed distance d to the boundary in pixels,
          positive inside objects;
        - *centre*: 1 at the centre of mass of an object, falling in proportion to the distance
          from it to 0 at its farthest pixel; 0 outside.
    known : Tensor
        Same shape, bool: ``False`` where a target hangs on pixels that are unlabelled or, for
        affinities, outside the patch.

    References
    ----------
    .. [1] Lee et al., Superhuman accuracy on the SNEMI3D connectomics challenge,
           arXiv:1706.00120, 2017 (long-range affinities).
    .. [2] Lin et al., NucMM dataset, MICCAI 2021 (signed distance beside foreground and boundary).
    """
    labelled = labels != UNLABELLED
    shape = (len(labels), len(params.maps), *labels.shape[1:])
    target = torch.zeros(shape, device=labels.device)
    known = torch.zeros(shape, dtype=torch.bool, device=labels.device)
    maps = (
        each
        for name in params.channels
        for each in _CHANNELS[name](labels, labelled, params.targets)
    )
    for k, (values, certain) in enumerate(maps):
        target[:, k], known[:, k] = values, certain
    return target, known


Maps = Iterator[tuple[Tensor, Tensor]]


def _foreground(labels: Tensor, labelled: Tensor, params: TargetParams) -> Maps:
    yield (labels > 0) & ~_touches(labels, also_background=False), labelled


def _boundary(labels: Tensor, labelled: Tensor, params: TargetParams) -> Maps:
    yield _touches(labels, also_background=True), labelled


def _affinities(labels: Tensor, labelled: Tensor, params: TargetParams) -> Maps:
    for offset in params.offsets:
        same, certain = torch.zeros_like(labelled), torch.zeros_like(labelled)
        here, there = partner_windows(labels.shape, offset)
        same[here] = (labels[here] > 0) & (labels[here] == labels[there])
        certain[here] = labelled[here] & labelled[there]
        yield same, certain


def _distance(labels: Tensor, labelled: Tensor, params: TargetParams) -> Maps:
    reach = max(1, round(3 * params.distance_scale))  # tanh(3) = 0.995
    inside = (labels > 0) & ~_touches(labels, also_background=False)
    out = _distance_to(inside, reach)  # 0 inside
    deep = _distance_to(~inside & labelled, reach)  # 0 outside
    signed = torch.where(inside, deep - 0.5, 0.5 - out)  # the boundary lies between two pixels
    near_unlabelled = _distance_to(~labelled, reach) < torch.where(inside, deep, out)
    yield (1 + torch.tanh(signed / params.distance_scale)) / 2, labelled & ~near_unlabelled


def _centre(labels: Tensor, labelled: Tensor, params: TargetParams) -> Maps:
    present, member = torch.unique(_apart(labels), return_inverse=True)  # (n, y, x) indices
    count = torch.bincount(member.flatten(), minlength=len(present)).clamp(min=1)
    away = torch.zeros(labels.shape, device=labels.device)
    for axis in (1, 2):
        shape = [1, 1, 1]
        shape[axis] = -1
        place = torch.arange(labels.shape[axis], device=labels.device, dtype=torch.float32)
        place = place.view(shape).expand(labels.shape)
        total = torch.zeros(len(present), device=labels.device)
        total.index_add_(0, member.flatten(), place.flatten())
        away += (place - (total / count)[member]) ** 2
    away = away.sqrt()
    farthest = torch.zeros(len(present), device=labels.device)
    farthest.scatter_reduce_(0, member.flatten(), away.flatten(), "amax")
    near = 1 - away / farthest[member].clamp(min=1)
    yield torch.where(labels > 0, near, 0), labelled


_CHANNELS = {
    "foreground": _foreground,
    "boundary": _boundary,
    "affinities": _affinities,
    "distance": _distance,
    "centre": _centre,
}


def _touches(labels: Tensor, *, also_background: bool) -> Tensor:
    """Pixels with a 4-neighbour of another object or, if wanted, of none."""
    touches = torch.zeros_like(labels, dtype=torch.bool)
    least = 0 if also_background else 1  # UNLABELLED is less
    for step in _STEPS:
        here, there = partner_windows(labels.shape, step)
        touches[here] |= (labels[there] != labels[here]) & (labels[there] >= least)
    return touches


def _apart(labels: Tensor) -> Tensor:
    """Ids (n, y, x) int64 of which no two images of a batch share one."""
    span = labels.max().long() + 2  # UNLABELLED is -1
    image = torch.arange(len(labels), device=labels.device).view(-1, 1, 1)
    return labels + image * span


def _distance_to(goal: Tensor, reach: int) -> Tensor:
    """Euclidean distance to the nearest pixel of ``goal`` in pixels, exact up to ``reach``.

    Along y first, then along x: the squared distance is a sum over the axes. More than ``reach``
    comes out as ``reach`` + 1, also where an image holds no such pixel.

    Parameters
    ----------
    goal
        (n, y, x) bool.

    References
    ----------
    .. [1] Felzenszwalb & Huttenlocher, Distance transforms of sampled functions, Theory of
           Computing 8, 2012 (the separable form).
    """
    far = float((reach + 1) ** 2)
    squared = torch.where(goal, 0.0, far)
    for axis in (1, 2):
        nearest = squared.clone()
        for step in range(1, min(reach, squared.shape[axis] - 1) + 1):
            kept = squared.shape[axis] - step
            one, other = squared.narrow(axis, step, kept), squared.narrow(axis, 0, kept)
            for into, source in ((0, one), (step, other)):
                part = nearest.narrow(axis, into, kept)
                torch.minimum(part, source + step**2, out=part)
        squared = nearest
    return squared.clamp(max=far).sqrt()
