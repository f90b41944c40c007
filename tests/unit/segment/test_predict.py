from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import nn

from emsam.params import Params, SegmentParams
from emsam.segment.predict import predict_maps


def small_view(radius: int, channels: int = 3) -> nn.Module:
    """Two convolutions that together look ``radius`` pixels far."""
    torch.manual_seed(0)
    kernel = radius + 1  # two kernels of 2r'+1 with r' = radius/2 each
    return nn.Sequential(
        nn.Conv2d(1, 4, kernel, padding=radius // 2),
        nn.Tanh(),
        nn.Conv2d(4, channels, kernel, padding=radius // 2),
    ).eval()


def tiles(tile: int, halo: int) -> Params:
    return Params(segment=SegmentParams(tile=tile, halo=halo))


def untiled(model: nn.Module, image: np.ndarray, margin: int) -> np.ndarray:
    """The whole mirrored slice in one go."""
    padded = np.pad(image, margin, mode="symmetric")
    with torch.inference_mode():
        out = model(torch.from_numpy(padded)[None, None]).sigmoid()[0].numpy()
    return out[:, margin : margin + image.shape[0], margin : margin + image.shape[1]]


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * 1000 + width).random((height, width), dtype=np.float32)


@hypothesis_settings(max_examples=20)
@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from([(32, 4), (32, 15), (48, 8)]))
def test_tiles_show_no_seams_at_any_size(height: int, width: int, tiling: tuple[int, int]) -> None:
    tile, halo = tiling
    model, image = small_view(4), picture(height, width)
    maps = predict_maps(model, image, tiles(tile=tile, halo=halo))
    assert (maps.shape, maps.dtype) == ((3, height, width), np.float32)
    np.testing.assert_allclose(maps, untiled(model, image, 16), atol=1e-6)


def test_a_halo_that_is_too_narrow_would_be_seen() -> None:
    model, image = small_view(12), picture(80, 80)
    maps = predict_maps(model, image, tiles(tile=32, halo=2))
    assert np.abs(maps - untiled(model, image, 16)).max() > 1e-3


def test_without_a_halo_a_network_of_single_pixels_has_no_seams() -> None:
    model, image = small_view(0, channels=1), picture(70, 33)
    maps = predict_maps(model, image, tiles(tile=32, halo=0))
    np.testing.assert_allclose(maps, untiled(model, image, 16), atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (300, 5)])
def test_slices_smaller_than_a_halo_and_much_longer_than_a_tile(shape: tuple[int, int]) -> None:
    model, image = small_view(4), picture(*shape)
    maps = predict_maps(model, image, tiles(tile=64, halo=31))
    np.testing.assert_allclose(maps, untiled(model, image, 16), atol=1e-6)


def test_the_image_and_the_mode_of_the_model_are_left_alone() -> None:
    model, image = small_view(4), picture(40, 40)
    before = image.copy()
    predict_maps(model, image, tiles(tile=32, halo=4))
    np.testing.assert_array_equal(image, before)
    assert not model.training
