"""Losses between logits and targets; unknown pixels count for nothing."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from emsam.params import LossParams

DISTANCES = ("distance", "centre")
"""Maps with values anywhere in [0, 1]; all others are 0 or 1."""
_LARGEST_BALANCE = 20.0
"""A class that a batch hardly holds would otherwise drown all else."""


def segmentation_loss(
    logits: Sequence[Tensor],
    target: Tensor,
    known: Tensor,
    *,
    maps: Sequence[str],
    params: LossParams,
) -> Tensor:
    """Weighted sum of the losses of ``params``.

    Parameters
    ----------
    logits
        The network's output (n, c, y, x) float, and behind it what side heads give for deep
        supervision at 1/2, 1/4 …, each weighing half as much as the one before.
    target
        (n, c, y, x) float in [0, 1].
    known
        (n, c, y, x) bool.
    maps
        Name of each channel.

    References
    ----------
    .. [1] Lee et al., Deeply-supervised nets, AISTATS 2015.
    """
    loss = _one_loss(logits[0], target, known, maps, params)
    for level, coarse in enumerate(logits[1:]):
        step = target.shape[-1] // coarse.shape[-1]
        sparse = (..., slice(None, None, step), slice(None, None, step))
        side = _one_loss(coarse, target[sparse], known[sparse], maps, params)
        loss = loss + params.deep_supervision / 2**level * side
    return loss


def _one_loss(
    logits: Tensor, target: Tensor, known: Tensor, maps: Sequence[str], params: LossParams
) -> Tensor:
    regressed = [name in DISTANCES for name in maps]
    if not any(regressed):
        return classification_loss(logits, target, known, params)
    is_distance = torch.tensor(regressed, device=logits.device)
    classes, distances = (
        [part[:, chosen] for part in (logits, target, known)]
        for chosen in (~is_distance, is_distance)
    )
    loss = classification_loss(classes[0], classes[1], classes[2], params)
    return loss + params.distance * squared_error(distances[0], distances[1], distances[2])


def classification_loss(
    logits: Tensor, target: Tensor, known: Tensor, params: LossParams
) -> Tensor:
    """Cross-entropy, focal loss and soft Dice of maps of 0 and 1, (n, c, y, x).

    The first two are means over all known pixels, Dice is one over channels.

    References
    ----------
    .. [1] Milletari et al., V-Net, 3DV 2016 (soft Dice with squared terms).
    .. [2] Lin et al., Focal loss for dense object detection, ICCV 2017.
    """
    weight = known.float()
    total = weight.sum().clamp(min=1)
    probability = logits.sigmoid()
    loss = logits.new_zeros(())
    if params.cross_entropy or params.focal:
        pixel = _class_balance(target, weight) if params.balance else weight
        entropy = binary_cross_entropy_with_logits(logits, target, pixel, reduction="none")
        loss = loss + params.cross_entropy * entropy.sum() / total
        if params.focal:
            wrong = (probability - target).abs()
            loss = loss + params.focal * (wrong**params.focal_gamma * entropy).sum() / total
    if params.dice:
        loss = loss + params.dice * _soft_dice(probability * weight, target * weight)
    return loss


def squared_error(logits: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """Mean squared error over known pixels of maps in [0, 1] that ``logits`` give as sigmoid."""
    weight = known.float()
    return ((logits.sigmoid() - target) ** 2 * weight).sum() / weight.sum().clamp(min=1)


def _class_balance(target: Tensor, weight: Tensor) -> Tensor:
    """Weights of pixels, (n, c, y, x): in each channel both classes get half of the whole."""
    over = (0, 2, 3)
    total = weight.sum(over, keepdim=True)
    positive = (weight * target).sum(over, keepdim=True)
    rare, common = (
        (0.5 * total / count.clamp(min=1)).clamp(max=_LARGEST_BALANCE)
        for count in (positive, total - positive)
    )
    return weight * torch.where(target > 0.5, rare, common)


def _soft_dice(probability: Tensor, target: Tensor) -> Tensor:
    over = (0, 2, 3)
    overlap = (probability * target).sum(over)
    total = (probability * probability).sum(over) + target.sum(over)  # 0 and 1 are their squares
    return (1 - (2 * overlap + 1) / (total + 1)).mean()
