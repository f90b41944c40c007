"""Adapted Rand error as the SNEMI3D contest computes it."""

from __future__ import annotations

import numpy as np

from emsam.metrics.contingency import Contingency, contingency


def arand_contest(
    truth: np.ndarray, pred: np.ndarray, *, table: Contingency | None = None
) -> float:
    r"""Adapted Rand error, contest variant; 0 is perfect.

    .. math:: 1 - \frac{2 \sum_{ij} p_{ij}^2}{\sum_i a_i^2 + \sum_j b_j^2}

    where :math:`p_{ij}` counts the pixels of true object i in predicted segment j,
    :math:`a_i = \sum_j p_{ij}` and :math:`b_j = \sum_i p_{ij}`. Pixels whose truth is 0 are
    dropped. A pixel predicted 0 inside a true object is a segment of its own; scikit-image's
    ``adapted_rand_error`` instead takes all of them as one segment.

    Parameters
    ----------
    truth, pred
        Instance ids of one shape, 2D or 3D; 0 is background.
    table
        :func:`~emsam.metrics.contingency.contingency` of the two, where it is known already.

    Returns
    -------
    float
        In [0, 1]; NaN where the truth holds no object.

    Raises
    ------
    ValueError
        Different shapes, or ids that are no integers.

    References
    ----------
    .. [1] Arganda-Carreras et al., Crowdsourcing the creation of image segmentation algorithms
           for connectomics, Front. Neuroanat. 9:142, 2015.
    .. [2] SNEMI3D challenge, https://snemi3d.grand-challenge.org/evaluation/
    """
    table = table or contingency(truth, pred)
    inside = table.truth_ids[table.truth] != 0
    if not inside.any():
        return float("nan")
    rows, columns = table.truth[inside], table.pred[inside]
    count = table.count[inside].astype(np.float64)
    is_segment = table.pred_ids[columns] != 0
    singletons = count[~is_segment].sum()
    sum_p = (count[is_segment] ** 2).sum() + singletons
    sum_a = (np.bincount(rows, count) ** 2).sum()
    sum_b = (np.bincount(columns[is_segment], count[is_segment]) ** 2).sum() + singletons
    return float(1 - 2 * sum_p / (sum_a + sum_b))
