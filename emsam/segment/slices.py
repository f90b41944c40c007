"""One slice from grey values to instance ids."""

from __future__ import annotations

import numpy as np
from torch import nn

from emsam.data.store import intensity_range, rescale
from emsam.errors import InputError
from emsam.params import Params
from emsam.segment.instances import make_instances
from emsam.segment.predict import predict_maps


def segment_slice(model: nn.Module, image: np.ndarray, params: Params) -> np.ndarray:
    """Instance ids of a grey slice.

    Parameters
    ----------
    image
        (y, x); 8-bit is taken whole, other types from their 0.1 to their 99.9 percentile.

    Returns
    -------
    ndarray
        (y, x) int32, 0 = background or membrane.

    Raises
    ------
    InputError
        Not a grey 2D image, or values that are not finite.
    """
    if image.ndim != 2:
        raise InputError(f"a slice has the axes y, x; this has shape {image.shape}")
    if not np.isfinite(image).all():
        raise InputError("the slice holds NaN or infinite values; replace them first")
    grey = rescale(image, intensity_range(image.dtype, image))
    ids, _ = make_instances(predict_maps(model, grey, params), params)
    return ids
