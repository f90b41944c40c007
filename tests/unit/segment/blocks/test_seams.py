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
from emsam.params import Params, SegmentParams, TargetParams
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


def test_windows_find_the_objects_of_the_whole_slice(slices: Path, tmp_path: Path) -> None:
    whole = segmented(tmp_path / "whole.zarr", slices, params(256, 32), 2048)
    windows = segmented(tmp_path / "windows.zarr", slices, params(256, 32), 384)
    assert whole.max() > 100
    errors = [arand_contest(a, b) for a, b in zip(whole, windows, strict=True)]
    print("A-Rand of windows against the whole slice", errors)
    assert max(errors) < 0.002
