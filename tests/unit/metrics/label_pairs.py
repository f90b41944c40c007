"""Random pairs of small label images, and new names for their ids."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays


@st.composite
def label_pairs(
    draw: st.DrawFn, *, smallest_pred: int = 0, largest: int = 4
) -> tuple[np.ndarray, np.ndarray]:
    """(truth, pred) of one shape, 2D or 3D, at most 4 a side, ids up to ``largest``."""
    shape = draw(array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=4))
    truth = draw(arrays(np.int64, shape, elements=st.integers(0, largest)))
    pred = draw(arrays(np.int64, shape, elements=st.integers(smallest_pred, largest)))
    return truth, pred


def renamed(labels: np.ndarray, seed: int) -> np.ndarray:
    """The same objects under other ids: uint64, far apart, beyond 2**32; 0 stays 0."""
    rng = np.random.default_rng(seed)
    ids = [each for each in np.unique(labels) if each != 0]
    names = rng.permutation(np.arange(1, len(ids) + 1, dtype=np.uint64)) * np.uint64(2**35 + 7)
    out = np.zeros(labels.shape, np.uint64)
    for each, name in zip(ids, names, strict=True):
        out[labels == each] = name
    return out
