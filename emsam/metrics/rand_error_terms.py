"""The adapted Rand error of a slice, taken apart: what each object adds to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emsam.metrics.contingency import Contingency


@dataclass(frozen=True)
class RandErrorTerms:
    """What each object adds to the adapted Rand error, times ``total``.

    Attributes
    ----------
    truth, pred
        By object, as in the table's ``truth_ids`` and ``pred_ids``; float64, 0 for id 0.
    total
        The denominator of the error; 0 where the truth holds no object.
    """

    truth: np.ndarray
    pred: np.ndarray
    total: float


def rand_error_terms(table: Contingency) -> RandErrorTerms:
    r"""Write the contest's adapted Rand error as a sum over objects.

    With :math:`p_{ij}` pixels of true object i in predicted object j, of sizes :math:`a_i` and
    :math:`b_j`, and :math:`S = \sum_i a_i^2 + \sum_j b_j^2`,

    .. math:: 1 - \frac{2 \sum p_{ij}^2}{S} =
        \sum_i \frac{a_i^2 - \sum_j p_{ij}^2}{S} + \sum_j \frac{b_j^2 - \sum_i p_{ij}^2}{S}

    where :math:`b_j` counts pixels inside true objects and each pixel predicted 0 is an object
    by itself (:func:`~emsam.metrics.arand_contest.arand_contest`). True objects have the terms
    on the left, predicted objects those on the right. What is predicted over background is in
    none of them.

    References
    ----------
    .. [1] Arganda-Carreras et al., Crowdsourcing the creation of image segmentation algorithms
           for connectomics, Front. Neuroanat. 9:142, 2015 (the score that is summed).
    """
    in_truth = table.truth_ids[table.truth] != 0
    in_pred = table.pred_ids[table.pred] != 0
    sizes = np.where(table.truth_ids != 0, table.truth_sizes, 0)
    seen = np.bincount(table.pred, table.count * table.of_objects, len(table.pred_ids))
    square = table.count.astype(np.float64) ** 2
    kept = np.where(in_pred, square, table.count) * in_truth  # each pixel predicted 0 is alone
    return RandErrorTerms(
        truth=sizes**2.0 - np.bincount(table.truth, kept, len(sizes)),
        pred=seen**2 - np.bincount(table.pred, square * table.of_objects, len(seen)),
        total=float((sizes**2.0).sum() + (seen**2).sum() + table.count[in_truth & ~in_pred].sum()),
    )
