"""Growing objects until they touch, as neurites are scored."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import distance_transform_edt


def grow_labels(labels: np.ndarray) -> np.ndarray:
    """Give every pixel that is 0 the id of the nearest object.

    Ground truths differ in how thick they draw a membrane; once objects touch, that thickness no
    longer counts.

    Parameters
    ----------
    labels
        Ids, 2D or 3D; without any object they are returned as they are.
    """
    background = labels == 0
    if background.all() or not background.any():
        return labels
    nearest = distance_transform_edt(background, return_distances=False, return_indices=True)
    return labels[tuple(nearest)]
