"""What the network is taught: foreground and affinities, from instance ids."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def make_targets(labels: Tensor, offsets: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    """Targets of a batch and where they are known.

    Parameters
    ----------
    labels
        Instance ids (n, y, x), 0 = background or membrane.
    offsets
        y,x offsets of the affinities, pixels.

    Returns
    -------
    target : Tensor
        (n, 1 + len(offsets), y, x) float32 of 0 and 1. Channel 0 is the foreground: pixels of an
        object that do not touch another object. Channel 1 + k is 1 where a pixel and the one
        ``offsets[k]`` away belong to the same object.
    known : Tensor
        Same shape, bool: ``False`` where the partner lies outside the patch.

    References
    ----------
    .. [1] Lee et al., Superhuman accuracy on the SNEMI3D connectomics challenge,
           arXiv:1706.00120, 2017 (long-range affinities).
    """
    inside = torch.ones_like(labels, dtype=torch.bool)
    target = [(labels > 0) & ~_touches_other(labels)]
    known = [inside]
    for offset in offsets:
        partner, exists = _shift(labels, offset)
        target.append((labels > 0) & (labels == partner) & exists)
        known.append(exists)
    return torch.stack(target, dim=1).float(), torch.stack(known, dim=1)


def _touches_other(labels: Tensor) -> Tensor:
    """Pixels with a 4-neighbour of another object."""
    touches = torch.zeros_like(labels, dtype=torch.bool)
    for offset in ((0, 1), (1, 0), (0, -1), (-1, 0)):
        neighbour, exists = _shift(labels, offset)
        touches |= exists & (neighbour > 0) & (neighbour != labels)
    return touches


def _shift(labels: Tensor, offset: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """For each pixel the id ``offset`` away, and whether that pixel exists."""
    dy, dx = offset
    rolled = torch.roll(labels, (-dy, -dx), dims=(1, 2))
    height, width = labels.shape[1:]
    y = torch.arange(height, device=labels.device) + dy
    x = torch.arange(width, device=labels.device) + dx
    exists = ((y >= 0) & (y < height))[:, None] & ((x >= 0) & (x < width))[None, :]
    return rolled, exists.expand_as(labels)
