"""From probability maps to instance ids."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import label
from skimage.segmentation import watershed

from emsam.params import SegmentParams


def make_instances(maps: np.ndarray, params: SegmentParams) -> tuple[np.ndarray, np.ndarray]:
    """Objects of a slice.

    The interior of an object is where the foreground and the affinities to both neighbours are
    likely together. Connected parts of the interior above ``params.threshold`` are the seeds;
    a watershed grows them over the rest of the foreground.

    Parameters
    ----------
    maps
        (c, y, x) probabilities: foreground, affinity to the next pixel in x, in y, then others.

    Returns
    -------
    ids : ndarray
        (y, x) int32, 0 = background or membrane; numbered from 1.
    confidence : ndarray
        Mean interior probability of each object, float32; entry k belongs to id k + 1.
    """
    foreground = maps[0]
    interior = foreground * np.minimum(maps[1], maps[2])
    seeds, _ = label(interior > params.threshold)
    size = np.bincount(seeds.ravel())
    seeds[size[seeds] < params.min_size] = 0
    ids = watershed(-interior, seeds, mask=(foreground > 0.5) | (seeds > 0))
    kept, dense = np.unique(ids, return_inverse=True)
    ids = (dense.reshape(ids.shape) + (kept[0] != 0)).astype(np.int32)
    count = int(ids.max())
    size = np.bincount(ids.ravel(), minlength=count + 1)[1:]
    total = np.bincount(ids.ravel(), interior.ravel(), count + 1)[1:]
    return ids, (total / np.maximum(size, 1)).astype(np.float32)
