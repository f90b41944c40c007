from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from emsam.params import LossParams
from emsam.train.losses import segmentation_loss

Batch = tuple[Tensor, Tensor, Tensor]
MAPS = ("foreground", "affinity 0,1", "distance")
KINDS = {
    "cross_entropy": LossParams(cross_entropy=1, dice=0, distance=0),
    "dice": LossParams(cross_entropy=0, dice=1, distance=0),
    "focal": LossParams(cross_entropy=0, dice=0, focal=1, distance=0),
    "balanced": LossParams(cross_entropy=1, dice=0, balance=True, distance=0),
    "distance": LossParams(distance=3),
    "all": LossParams(cross_entropy=1, dice=1, focal=1, distance=1, balance=True),
}
ENTROPY = KINDS["cross_entropy"]


@pytest.fixture
def batch() -> Batch:
    """Logits, target and known of shape (2, 3, 5, 6); a third of the pixels is unknown."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((2, 3, 5, 6), generator=generator)
    target = (torch.rand(logits.shape, generator=generator) > 0.7).float()
    target[:, 2] = torch.rand(target[:, 2].shape, generator=generator)  # a distance
    known = torch.rand(logits.shape, generator=generator) > 0.3
    return logits, target, known


def loss_of(batch: Batch, params: LossParams, *sides: Tensor) -> Tensor:
    logits, target, known = batch
    return segmentation_loss([logits, *sides], target, known, maps=MAPS, params=params)


def surprises(batch: Batch) -> list[list[float]]:
    """-log p of each known pixel of the two maps of 0 and 1, a list for each class."""
    lists: list[list[float]] = [[], []]
    for x, t, k in zip(*(part[:, :2].flatten().tolist() for part in batch), strict=True):
        if k:
            lists[int(t)].append(math.log1p(math.exp(-x if t else x)))
    return lists


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_pixels_count_for_nothing(batch: Batch, kind: str) -> None:
    logits, target, known = batch
    other = (torch.where(known, logits, 7.0), torch.where(known, target, 1 - target), known)
    expected = loss_of(batch, KINDS[kind]).item()
    assert loss_of(other, KINDS[kind]).item() == pytest.approx(expected, abs=1e-6)


def test_unknown_pixels_have_no_gradient_and_known_ones_have(batch: Batch) -> None:
    logits, _, known = batch
    logits.requires_grad_()
    loss_of(batch, KINDS["all"]).backward()
    assert logits.grad is not None
    assert not logits.grad[~known].any()
    assert (logits.grad[known] != 0).all()


def test_cross_entropy_is_the_mean_over_known_pixels(batch: Batch) -> None:
    negative, positive = surprises(batch)
    expected = (sum(negative) + sum(positive)) / (len(negative) + len(positive))
    assert loss_of(batch, ENTROPY).item() == pytest.approx(expected, rel=1e-5)


def test_focal_loss_spares_what_is_easy(batch: Batch) -> None:
    negative, positive = surprises(batch)
    each = negative + positive
    for gamma in (0.5, 2.0):
        params = LossParams(cross_entropy=0, dice=0, focal=1, focal_gamma=gamma, distance=0)
        expected = sum((1 - math.exp(-s)) ** gamma * s for s in each) / len(each)
        assert loss_of(batch, params).item() == pytest.approx(expected, rel=1e-5)


def test_balance_gives_a_rare_class_half_of_the_weight(batch: Batch) -> None:
    logits, target, known = batch
    one_map = tuple(part[:, :1] for part in batch)
    negative, positive = [], []
    for x, t, k in zip(*(part.flatten().tolist() for part in one_map), strict=True):
        if k:
            (positive if t else negative).append(math.log1p(math.exp(-x if t else x)))
    assert len(positive) < len(negative)
    expected = (sum(negative) / len(negative) + sum(positive) / len(positive)) / 2
    got = segmentation_loss(
        [logits[:, :1]], target[:, :1], known[:, :1], maps=MAPS[:1], params=KINDS["balanced"]
    )
    assert got.item() == pytest.approx(expected, rel=1e-5)


def test_distances_are_compared_by_their_square(batch: Batch) -> None:
    logits, target, known = batch
    wrong = (logits[:, 2].sigmoid() - target[:, 2])[known[:, 2]]
    without = loss_of(batch, LossParams(distance=0)).item()
    expected = without + 3 * (wrong**2).mean().item()
    assert loss_of(batch, LossParams(distance=3)).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_certain_and_right_answer_costs_nothing_and_a_wrong_one_much(
    batch: Batch, kind: str
) -> None:
    _, target, known = batch
    target = (target > 0.5).float()
    right = loss_of((40 * (target - 0.5), target, known), KINDS[kind])
    wrong = loss_of((-40 * (target - 0.5), target, known), KINDS[kind])
    assert right.item() == pytest.approx(0, abs=1e-3)
    assert wrong.item() > 0.9


def test_side_heads_are_compared_with_the_targets_of_their_pixels(batch: Batch) -> None:
    logits, target, known = (part.repeat(1, 1, 2, 2)[..., :8, :12] for part in batch)
    half, quarter = logits[..., ::2, ::2] - 1, logits[..., ::4, ::4] + 2
    params = LossParams(deep_supervision=0.4)
    sparse = [(part[..., ::2, ::2], part[..., ::4, ::4]) for part in (target, known)]
    alone = LossParams()
    expected = (
        loss_of((logits, target, known), alone)
        + 0.4 * loss_of((half, sparse[0][0], sparse[1][0]), alone)
        + 0.2 * loss_of((quarter, sparse[0][1], sparse[1][1]), alone)
    )
    got = loss_of((logits, target, known), params, half, quarter)
    assert got.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_without_any_known_pixel_is_harmless(batch: Batch, kind: str) -> None:
    logits, target, known = batch
    known[:] = False
    assert math.isfinite(loss_of((logits, target, known), KINDS[kind]).item())
    known[:, :2] = True
    assert math.isfinite(loss_of((logits, target, known), KINDS[kind]).item())
