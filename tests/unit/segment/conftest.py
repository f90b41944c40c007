"""What the tests of segmenting share: a network that needs no training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from emsam.params import Params, SegmentParams, TargetParams


class Bright(nn.Module):
    """Foreground and both affinities are likely where the image is bright."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(40.0))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return ((image - 0.5) * self.gain).expand(-1, 3, -1, -1)


@pytest.fixture
def bright() -> nn.Module:
    return Bright()


@pytest.fixture
def bright_params() -> Params:
    return Params(
        targets=TargetParams(offsets=((0, 1), (1, 0))),
        segment=SegmentParams(tile=32, halo=4, min_size=0, min_confidence=0.0),
    )


@pytest.fixture
def bars() -> np.ndarray:
    """Three slices with one, two and three bright bars."""
    stack = np.full((3, 40, 50), 20, np.uint8)
    for z in range(3):
        for bar in range(z + 1):
            stack[z, 5:35, 4 + 15 * bar : 12 + 15 * bar] = 230
    return stack
