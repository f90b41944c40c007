"""Average precision as cell segmentation uses the word: an accuracy."""

from __future__ import annotations

import numpy as np

from emsam.metrics.contingency import Contingency, contingency
from emsam.metrics.matching import count_matches, object_overlaps


def average_precision_accuracy(
    truth: np.ndarray,
    pred: np.ndarray,
    *,
    threshold: float = 0.5,
    table: Contingency | None = None,
) -> float:
    """TP / (TP + FP + FN) of objects matched one to one at IoU ≥ ``threshold``; 1 is perfect.

    Parameters
    ----------
    truth, pred
        Instance ids of one shape, 2D or 3D; 0 is background.
    threshold
        Smallest intersection over union of a match.
    table
        :func:`~emsam.metrics.contingency.contingency` of the two, where it is known already.

    Returns
    -------
    float
        In [0, 1]; NaN where neither image holds an object.

    Raises
    ------
    ValueError
        Different shapes, or ids that are no integers.

    References
    ----------
    .. [1] Caicedo et al., Nucleus segmentation across imaging experiments: the 2018 Data Science
           Bowl, Nature Methods 16:1247, 2019.
    """
    overlaps = object_overlaps(table or contingency(truth, pred))
    true_positives = count_matches(overlaps, threshold)
    union = overlaps.truth_count + overlaps.pred_count - true_positives
    return true_positives / union if union else float("nan")
