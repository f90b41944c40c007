"""Windows to augment, and augmentation by one change alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from emsam.data.patches import Batch
from emsam.params import AugmentParams
from emsam.train.augment.augmenter import Augmenter

SIZE = 64
CHANGES = AugmentParams().beyond_flips


def only(name: str, **values: Any) -> AugmentParams:
    """One change, of every patch."""
    off = dict.fromkeys(CHANGES, 0)
    return AugmentParams.model_validate(off | {name: {"probability": 1} | values})


def batch_of(images: np.ndarray, ids: np.ndarray | None = None) -> Batch:
    """Windows (n, side, side) with a patch of ``SIZE`` in the middle of each."""
    corners = np.full((len(images), 2), (images.shape[-1] - SIZE) // 2)
    ids = np.zeros(images.shape) if ids is None else ids
    return Batch(images.astype(np.float32), ids.astype(np.int32), [], corners)


def random_batch(side: int = 120) -> Batch:
    """Four windows of random grey values and ids."""
    rng = np.random.default_rng(4)
    return batch_of(rng.random((4, side, side)), rng.integers(0, 50, (4, side, side)))


def flat_batch(grey: float, count: int = 4) -> Batch:
    return batch_of(np.full((count, SIZE, SIZE), grey))


def patches_of(batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """Images and ids without any change."""
    here = [slice(batch.corners[0, axis], batch.corners[0, axis] + SIZE) for axis in (0, 1)]
    return batch.images[:, *here], batch.labels[:, *here]


def augment(params: AugmentParams, batch: Batch, step: int = 0) -> tuple[Tensor, Tensor]:
    return Augmenter(params, size=SIZE, seed=7)(batch, step)


def same(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
