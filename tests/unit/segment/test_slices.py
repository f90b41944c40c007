from __future__ import annotations

import numpy as np
import pytest
from torch import nn

from emsam.errors import InputError
from emsam.params import Params
from emsam.segment.slices import segment_slice


def test_a_slice_is_segmented_whatever_its_type(
    bars: np.ndarray, bright: nn.Module, bright_params: Params
) -> None:
    for image in (bars[2], bars[2].astype(np.uint16) * 200, bars[2] / 17 - 3):
        ids = segment_slice(bright, image, bright_params)
        assert ids.max() == 3
        np.testing.assert_array_equal(ids > 0, bars[2] > 100)


def test_slices_that_cannot_be_segmented_are_refused(
    bars: np.ndarray, bright: nn.Module, bright_params: Params
) -> None:
    nan = bars[0].astype(np.float32)
    nan[3, 3] = np.nan
    for image in (bars, nan):
        with pytest.raises(InputError):
            segment_slice(bright, image, bright_params)
