from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from emsam.train.losses import segmentation_loss

Batch = tuple[Tensor, Tensor, Tensor]


@pytest.fixture
def batch() -> Batch:
    """Logits, target and known of shape (2, 3, 5, 6); a third of the pixels is unknown."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((2, 3, 5, 6), generator=generator)
    target = (torch.rand(logits.shape, generator=generator) > 0.5).float()
    known = torch.rand(logits.shape, generator=generator) > 0.3
    return logits, target, known


@pytest.mark.parametrize("dice_weight", [0.0, 0.5, 2.0])
def test_unknown_pixels_count_for_nothing(batch: Batch, dice_weight: float) -> None:
    logits, target, known = batch
    loss = segmentation_loss(logits, target, known, dice_weight=dice_weight)
    other_logits = torch.where(known, logits, 7.0)
    other_target = torch.where(known, target, 1 - target)
    other = segmentation_loss(other_logits, other_target, known, dice_weight=dice_weight)
    assert other.item() == pytest.approx(loss.item(), abs=1e-6)


def test_unknown_pixels_have_no_gradient_and_known_ones_have(batch: Batch) -> None:
    logits, target, known = batch
    logits.requires_grad_()
    segmentation_loss(logits, target, known, dice_weight=0.5).backward()
    assert logits.grad is not None
    assert not logits.grad[~known].any()
    assert (logits.grad[known] != 0).all()


def test_cross_entropy_alone_is_the_mean_over_known_pixels(batch: Batch) -> None:
    logits, target, known = batch
    surprise = [
        -math.log(1 / (1 + math.exp(-x if t else x)))
        for x, t in zip(logits[known].tolist(), target[known].tolist(), strict=True)
    ]
    got = segmentation_loss(logits, target, known, dice_weight=0.0).item()
    assert got == pytest.approx(sum(surprise) / len(surprise), rel=1e-5)


def test_a_certain_and_right_answer_costs_nothing_and_a_wrong_one_much(batch: Batch) -> None:
    _, target, known = batch
    right = segmentation_loss(40 * (target - 0.5), target, known, dice_weight=0.5)
    wrong = segmentation_loss(-40 * (target - 0.5), target, known, dice_weight=0.5)
    assert right.item() == pytest.approx(0, abs=1e-3)
    assert wrong.item() > 10


def test_a_channel_without_any_known_pixel_is_harmless(batch: Batch) -> None:
    logits, target, known = batch
    known[:, 2] = False
    assert math.isfinite(segmentation_loss(logits, target, known, dice_weight=0.5).item())
