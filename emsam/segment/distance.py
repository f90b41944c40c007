"""Mitochondria: compact objects, told apart where they are narrow."""

from __future__ import annotations

import numpy as np
from bioimage_cpp.segmentation import watershed
from scipy.ndimage import label
from skimage.morphology import local_maxima, reconstruction


def split_at_necks(distance: np.ndarray, mask: np.ndarray, seed_depth: float) -> np.ndarray:
    """Seeded watershed on a map of distances.

    A seed is a maximum of the distance that lies at least ``seed_depth`` above the saddle to any
    higher one (an h-maximum [1]_), so that ripples of the map do not split an object.

    Parameters
    ----------
    distance
        (y, x) float, pixels to the nearest boundary of the object; below 0 outside of objects.
    mask
        (y, x) bool, pixels of objects.
    seed_depth
        Pixels, above 0.

    Returns
    -------
    ndarray
        (y, x) int64, 0 outside ``mask``.

    References
    ----------
    .. [1] Soille, Morphological Image Analysis, section 6.3, 2003.
    """
    outside = -2 * seed_depth
    height = np.where(mask, np.maximum(distance, 0), outside).astype(np.float32)
    framed = np.pad(height, 1, constant_values=outside)  # a plateau up to the border is a maximum
    flattened = reconstruction(framed - np.float32(seed_depth), framed, method="dilation")
    seeds, _ = label(local_maxima(flattened)[1:-1, 1:-1] & mask)
    return watershed(-height, seeds.astype(np.uint32), mask=mask).astype(np.int64)
