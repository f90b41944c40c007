from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from emsam.data.patches import ORIENTATIONS
from emsam.params import Params, SegmentParams, TargetParams
from emsam.segment.predict import predict_maps
from emsam.train.targets import make_targets

OFFSETS = (
    TargetParams().offsets,
    ((0, 1), (1, 0), (2, 5), (-4, 0)),  # (2, 5) comes out nowhere when it is turned
    ((0, 1), (1, 0), (0, -3), (3, 0), (3, 3)),
)


class TrueMaps(nn.Module):
    """A network that knows: maps of the ids that its grey values are."""

    def __init__(self, offsets: tuple[tuple[int, int], ...]) -> None:
        super().__init__()
        self.params = Params(targets=TargetParams(offsets=offsets))
        self.device_marker = nn.Parameter(torch.zeros(1))

    def forward(self, image: Tensor) -> Tensor:
        ids = (image[:, 0] * 255).round().long()
        target, _ = make_targets(ids, self.params)
        return (target * 2 - 1) * 20


@pytest.fixture
def ids() -> np.ndarray:
    """A slice of small objects, which no flip or turn leaves as it is."""
    rng = np.random.default_rng(5)
    return np.kron(rng.integers(0, 4, (9, 13)), np.ones((5, 6), int))[:43, :71]


@pytest.mark.parametrize("offsets", OFFSETS)
def test_a_network_that_knows_says_the_same_in_every_position(
    ids: np.ndarray, offsets: tuple[tuple[int, int], ...]
) -> None:
    network = TrueMaps(offsets)
    target, known = make_targets(torch.from_numpy(ids)[None], network.params)
    maps = predict_maps(
        network,
        (ids / 255).astype(np.float32),
        Params(
            targets=TargetParams(offsets=offsets),
            segment=SegmentParams(augmentations=8, tile=64, halo=16),
        ),
    )
    assert maps.dtype == np.float32
    # a partner outside the slice is a mirrored pixel there, whose affinity nobody asks for
    np.testing.assert_allclose(maps[known[0]], target[0][known[0]], atol=1e-6)


class Shaded(nn.Module):
    """The foreground is a ramp over the image it is shown, whatever is on it."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(4.0))

    def forward(self, image: Tensor) -> Tensor:
        ramp = torch.linspace(-1, 1, image.shape[-1])[None, None, None] * self.slope
        return ramp.expand(len(image), 3, *image.shape[-2:])


def test_what_a_network_says_in_eight_positions_is_averaged() -> None:
    params = Params(
        targets=TargetParams(offsets=((0, 1), (1, 0))),
        segment=SegmentParams(augmentations=8, tile=32, halo=0),
    )
    foreground = predict_maps(Shaded(), np.zeros((32, 32), np.float32), params)[0]
    ramp = 1 / (1 + np.exp(-4 * np.linspace(-1, 1, 32)))
    np.testing.assert_allclose(foreground, 0.5, atol=1e-6)  # left and right, up and down
    assert ramp.std() > 0.3
    assert ORIENTATIONS == 8
