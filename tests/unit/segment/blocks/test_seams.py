"""Real tissue in windows, beside the same in one piece."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from torch import nn

from emsam.data.readers import open_stack
from emsam.metrics.arand_contest import arand_contest
from emsam.model.build import build_model
from emsam.model.folding import fold_norms
from emsam.model.unet import UNet
from emsam.params import Params, SegmentParams, TargetParams
from emsam.params.network import ModelParams
from emsam.segment.blocks.options import Options
from emsam.segment.blocks.run import segment_volume
from emsam.segment.predict import predict_maps
from tests.conftest import SHARED_DATA

IMAGE = SHARED_DATA / "epfl6_hippocampus" / "image.tif"
pytestmark = pytest.mark.skipif(not IMAGE.exists(), reason=f"no real EM data at {IMAGE}")


class Membranes(nn.Module):
    """Looks 7 pixels far; membranes are dark."""

    def __init__(self) -> None:
        super().__init__()
        self.blur = nn.AvgPool2d(5, 1, 2)
        self.open = nn.MaxPool2d(5, 1, 2)
        self.gain = nn.Parameter(torch.tensor(30.0))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        dark = self.open(-self.blur(image))
        return ((0.56 + dark) * -self.gain + 4).neg().add(4).expand(-1, 3, -1, -1)


def params(tile: int, halo: int) -> Params:
    return Params(
        targets=TargetParams(offsets=((0, 1), (1, 0))),
        segment=SegmentParams(tile=tile, halo=halo, foreground=0.3, threshold=0.5),
    )


def u_net_params(tile: int, halo: int) -> Params:
    return Params(
        model=ModelParams(name="unet", unet_widths=(4, 6, 8)),
        segment=SegmentParams(tile=tile, halo=halo),
    )


def steep_u_net(grey: np.ndarray) -> nn.Module:
    """Random weights that look 22 pixels far; of ``grey`` it says everything from 0 to 1."""
    torch.manual_seed(0)
    network = build_model(u_net_params(80, 32))
    assert isinstance(network, UNet)
    image = torch.from_numpy(grey[:256, :256])[None, None]
    with torch.no_grad():
        for _ in range(30):  # norms settle
            network(image)
        logits = network.eval()(image)
        assert isinstance(logits, torch.Tensor)
        scale = 3 / logits.std((0, 2, 3))
        network.head.weight *= scale[:, None, None, None]
        network.head.bias -= logits.mean((0, 2, 3))
        network.head.bias *= scale
    return network


def segmented(out: Path, image: Path, made: Params, side: int) -> np.ndarray:
    segment_volume(Membranes(), str(image), out, made, Options(side=side))
    with open_stack(out) as stack:
        return np.stack(list(stack))


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("real") / "em.tif"
    tifffile.imwrite(path, tifffile.imread(IMAGE, key=[0, 30]), photometric="minisblack")
    return path


def test_maps_in_tiles_are_those_of_the_whole_slice(slices: Path) -> None:
    grey = tifffile.imread(slices)[0].astype(np.float32) / 255
    tiled = predict_maps(Membranes(), grey, params(256, 32))
    whole = predict_maps(Membranes(), grey, params(1280, 32))
    np.testing.assert_allclose(tiled, whole, atol=1e-3)


def test_maps_of_a_u_net_in_tiles_are_those_of_the_whole_slice(slices: Path) -> None:
    grey = tifffile.imread(slices)[0].astype(np.float32) / 255
    network = fold_norms(steep_u_net(grey))
    whole = predict_maps(network, grey, u_net_params(1280, 32))
    assert whole[0].std() > 0.2  # it says something
    tiled = predict_maps(network, grey, u_net_params(80, 32))
    np.testing.assert_allclose(tiled, whole, atol=1e-3)
    seams = predict_maps(network, grey, u_net_params(64, 0))
    assert np.abs(seams - whole).max() > 0.1


def test_windows_find_the_objects_of_the_whole_slice(slices: Path, tmp_path: Path) -> None:
    whole = segmented(tmp_path / "whole.zarr", slices, params(256, 32), 2048)
    windows = segmented(tmp_path / "windows.zarr", slices, params(256, 32), 384)
    assert whole.max() > 100
    errors = [arand_contest(a, b) for a, b in zip(whole, windows, strict=True)]
    print("A-Rand of windows against the whole slice", errors)
    assert max(errors) < 0.002
