"""Losses between logits and targets; unknown pixels count for nothing."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits


def segmentation_loss(
    logits: Tensor, target: Tensor, known: Tensor, *, dice_weight: float
) -> Tensor:
    """Binary cross-entropy plus soft Dice, the mean over channels.

    Parameters
    ----------
    logits, target
        (n, c, y, x) float.
    known
        (n, c, y, x) bool.
    dice_weight
        Of soft Dice beside cross-entropy.

    References
    ----------
    .. [1] Milletari et al., V-Net, 3DV 2016 (soft Dice with squared terms).
    """
    weight = known.float()
    entropy = binary_cross_entropy_with_logits(logits, target, weight=weight, reduction="sum")
    loss = entropy / weight.sum()
    if dice_weight:
        loss = loss + dice_weight * _soft_dice(logits.sigmoid() * weight, target * weight)
    return loss


def _soft_dice(probability: Tensor, target: Tensor) -> Tensor:
    over = (0, 2, 3)
    overlap = (probability * target).sum(over)
    total = (probability**2).sum(over) + (target**2).sum(over)
    return (1 - (2 * overlap + 1) / (total + 1)).mean()
