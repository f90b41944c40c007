"""Objects straight from affinities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from bioimage_cpp.segmentation import mutex_watershed

_NEIGHBOURS = 2
"""The first offsets are the neighbours in x and y, which attract; the others repel."""


def join_unless_excluded(
    affinities: np.ndarray,
    offsets: Sequence[tuple[int, int]],
    mask: np.ndarray,
    *,
    stride: int,
    bias: float,
) -> np.ndarray:
    """Mutex watershed: the surest evidence first, whether it joins or keeps apart.

    Parameters
    ----------
    affinities
        (k, y, x) float32 probabilities of ``offsets``, the two neighbours first.
    mask
        (y, x) bool; pixels outside stay 0.
    stride
        Of the long-range affinities every n-th in y and in x is used.
    bias
        Added to the neighbours' affinities; above 0 merges more.

    Returns
    -------
    ndarray
        (y, x) int64.

    References
    ----------
    .. [1] Wolf et al., The mutex watershed and its objective: efficient, parameter-free graph
           partitioning, IEEE TPAMI 43:3724, 2021.
    """
    weights = np.array(affinities, np.float32)
    weights[:_NEIGHBOURS] += bias
    weights[_NEIGHBOURS:] = 1 - weights[_NEIGHBOURS:]  # how sure the two are apart
    ids = mutex_watershed(weights, offsets, _NEIGHBOURS, strides=(stride, stride), mask=mask)
    return ids.astype(np.int64)
