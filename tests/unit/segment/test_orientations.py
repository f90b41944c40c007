from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from emsam.data.patches import ORIENTATIONS, orient
from emsam.params import Params, SegmentParams, TargetParams
from emsam.segment.orientations import MapAverage
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


class Stubborn(nn.Module):
    """Says the same of every image, whatever is on it and however it is turned."""

    def __init__(self, foreground: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(foreground.logit())

    def forward(self, image: Tensor) -> Tensor:
        return self.logits.expand(len(image), 3, -1, -1)


def test_a_network_is_asked_in_every_position() -> None:
    said = np.random.default_rng(2).uniform(0.1, 0.9, (32, 32)).astype(np.float32)
    params = Params(
        targets=TargetParams(offsets=((0, 1), (1, 0))),
        segment=SegmentParams(augmentations=8, tile=32, halo=0),
    )
    maps = predict_maps(Stubborn(torch.from_numpy(said)), np.zeros((32, 32), np.float32), params)
    positions = [
        each[::rows, ::columns]
        for each in (said, said.T)
        for rows in (1, -1)
        for columns in (1, -1)
    ]
    np.testing.assert_allclose(maps[0], np.mean(positions, axis=0), atol=1e-6)


def test_what_a_network_says_in_eight_positions_is_averaged() -> None:
    said = np.random.default_rng(1).random((ORIENTATIONS, 3, 20, 30), np.float32)
    said[:, 1:] = said[:, 1:, :1, :1]  # one affinity in x and one in y for all pixels
    average = MapAverage(Params(targets=TargetParams(offsets=((0, 1), (1, 0)))))
    for orientation, maps in enumerate(said):
        turned = [orient(each, orientation) for each in maps]
        average.add(np.stack(turned), orientation)
    foreground, along_x, along_y = average.mean()
    np.testing.assert_allclose(foreground, said[:, 0].mean(axis=0), atol=1e-6)
    said[1::2, 1:] = said[1::2, :0:-1]  # an odd number of turns makes rows of columns
    x, y = said[:, 1:, 0, 0].mean(axis=0)
    np.testing.assert_allclose(along_x[:, :-1], x, atol=1e-6)
    np.testing.assert_allclose(along_y[:-1], y, atol=1e-6)
