"""Variation of information, apart into its split and its merge."""

from __future__ import annotations

import numpy as np

from emsam.metrics.contingency import Contingency, contingency


def variation_of_information(
    truth: np.ndarray, pred: np.ndarray, *, table: Contingency | None = None
) -> tuple[float, float]:
    """Conditional entropies H(pred | truth) and H(truth | pred) in bits; 0 is perfect.

    The first grows with true objects that are split, the second with true objects that are
    merged. Pixels whose truth is 0 are dropped; pixels predicted 0 are one segment.

    Parameters
    ----------
    truth, pred
        Instance ids of one shape, 2D or 3D; 0 is background.
    table
        :func:`~emsam.metrics.contingency.contingency` of the two, where it is known already.

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
    table = table or contingency(truth, pred)
    inside = table.truth_ids[table.truth] != 0
    if not inside.any():
        return float("nan"), float("nan")
    rows, columns = table.truth[inside], table.pred[inside]
    count = table.count[inside].astype(np.float64)
    share = count / count.sum()
    # sums of whole numbers are exact: a ratio is never below 1 and no entropy below 0
    split = share @ np.log2(np.bincount(rows, count)[rows] / count)
    merge = share @ np.log2(np.bincount(columns, count)[columns] / count)
    return float(split), float(merge)
