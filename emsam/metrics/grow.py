"""Growing objects until they touch, as neurites are scored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import distance_transform_edt


def grow_labels(labels: np.ndarray, *, voxel_size: Sequence[float] | None = None) -> np.ndarray:
    """Give every pixel that is 0 the id of the nearest object.

    Ground truths differ in how thick they draw a membrane; once objects touch, that thickness no
    longer counts.

    Parameters
    ----------
    labels
        Ids, 2D or 3D; without any object they are returned as they are.
    voxel_size
        Length of a pixel along each axis, in any one unit; ``None`` takes them as equal.
    """
    background = labels == 0
    if background.all() or not background.any():
        return labels
    width = labels.shape[-1]
    if width % 256 == 0:
        # rows a power of two apart share cache lines: a few more columns halve the time
        beyond = [(0, 0)] * (labels.ndim - 1) + [(0, 16)]
        background = np.pad(background, beyond, constant_values=True)
    nearest = distance_transform_edt(
        background, sampling=voxel_size, return_distances=False, return_indices=True
    )
    return labels[tuple(nearest[..., :width])]
