from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from emsam.params import TargetParams
from emsam.train.targets import make_targets

OFFSETS = [(0, 1), (1, 0), (0, 3), (2, -2), (-1, 0), (0, 7)]


def targets_by_loop(ids: np.ndarray, offsets: list[tuple[int, int]]) -> tuple[np.ndarray, ...]:
    """Pixel by pixel; ``ids`` of shape (y, x)."""
    height, width = ids.shape
    target = np.zeros((1 + len(offsets), height, width), np.float32)
    known = np.ones(target.shape, bool)
    for y, x in np.ndindex(ids.shape):
        around = [
            ids[y + dy, x + dx]
            for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0))
            if 0 <= y + dy < height and 0 <= x + dx < width
        ]
        touches = any(other not in (0, ids[y, x]) for other in around)
        target[0, y, x] = ids[y, x] > 0 and not touches
        for channel, (dy, dx) in enumerate(offsets, start=1):
            there = (y + dy, x + dx)
            known[channel, y, x] = 0 <= there[0] < height and 0 <= there[1] < width
            if known[channel, y, x]:
                target[channel, y, x] = ids[y, x] > 0 and ids[y, x] == ids[there]
    return target, known


@given(arrays(np.int32, (2, 5, 7), elements=st.integers(0, 3)))
def test_equals_the_loop_over_pixels(ids: np.ndarray) -> None:
    target, known = make_targets(torch.from_numpy(ids), OFFSETS)
    assert target.shape == known.shape == (2, 7, 5, 7)
    assert (target.dtype, known.dtype) == (torch.float32, torch.bool)
    for n in range(2):
        expected, exists = targets_by_loop(ids[n], OFFSETS)
        np.testing.assert_array_equal(known[n].numpy(), exists)
        np.testing.assert_array_equal(target[n].numpy()[exists], expected[exists])


def test_by_hand() -> None:
    # 1 1 2 0: the second and third pixel touch another object and are no foreground;
    # only the first and second belong together
    target, known = make_targets(torch.tensor([[[1, 1, 2, 0]]]), [(0, 1), (1, 0)])
    assert target[0, :, 0].tolist() == [[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert known[0, :, 0].tolist() == [[True] * 4, [True, True, True, False], [False] * 4]


def test_background_has_no_affinity_with_background() -> None:
    target, _ = make_targets(torch.zeros((1, 4, 4), dtype=torch.int32), OFFSETS)
    assert not target.any()


@pytest.mark.parametrize("side", [3, 8, 40])
def test_default_offsets_on_patches_smaller_than_the_longest(side: int) -> None:
    target, known = make_targets(
        torch.ones((1, side, side), dtype=torch.int32), TargetParams().offsets
    )
    assert bool(((target == 1) == known).all())  # one object: together wherever a partner exists
