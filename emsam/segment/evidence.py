"""Probabilities as evidence for and against joining."""

from __future__ import annotations

import numpy as np
from scipy.special import logit

_SURE = 1e-3


def sure_logit(probability: np.ndarray) -> np.ndarray:
    """Log odds that stay finite, so that one piece of evidence cannot outvote all others.

    What is nearer to 0 or 1 than 0.001 counts as that.
    """
    odds: np.ndarray = logit(np.clip(probability, _SURE, 1 - _SURE))
    return odds
