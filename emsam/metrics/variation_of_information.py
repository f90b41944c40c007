"""Variation of information, apart into its split and its merge."""

from __future__ import annotations

import numpy as np

from emsam.metrics.contingency import contingency


def variation_of_information(truth: np.ndarray, pred: np.ndarray) -> tuple[float, float]:
    """Conditional entropies H(pred | truth) and H(truth | pred) in bits; 0 is perfect.

    The first grows with true objects that are split, the second with true objects that are
    merged. Pixels whose truth is 0 are dropped; pixels predicted 0 are one segment.

    Parameters
    ----------
    truth, pred
        Instance ids of one shape, 2D or 3D; 0 is background.

    Returns
    -------
    split, merge : float
        NaN where the truth holds no object.

    Raises
    ------
    ValueError
        Different shapes, or ids that are no integers.

    References
    ----------
    .. [1] Meilă, Comparing clusterings: an information based distance, J. Multivar. Anal. 98,
           2007.
    .. [2] Nunez-Iglesias et al., Machine learning of hierarchical clustering to segment 2D and
           3D images, PLoS ONE 8(8):e71715, 2013.
    """
    table = contingency(truth, pred)
    inside = table.truth_ids[table.truth] != 0
    if not inside.any():
        return float("nan"), float("nan")
    rows, columns = table.truth[inside], table.pred[inside]
    joint = table.count[inside] / table.count[inside].sum()
    a = np.bincount(rows, joint)[rows]
    b = np.bincount(columns, joint)[columns]
    split = -(joint * np.log2(joint / a)).sum()
    merge = -(joint * np.log2(joint / b)).sum()
    return float(split) + 0.0, float(merge) + 0.0
