"""Random changes that an EM image could have come with."""

from __future__ import annotations

import numpy as np

from emsam.params import AugmentParams

ORIENTATIONS = 8
"""Positions of a square: four turns, each also mirrored."""


def orient(square: np.ndarray, orientation: int) -> np.ndarray:
    """Turn a square patch (n, n) by 90° ``orientation % 4`` times; from 4 on mirror it as well."""
    turned = np.rot90(square, orientation % 4)
    return turned[:, ::-1] if orientation >= 4 else turned


def change_grey_values(
    rng: np.random.Generator, image: np.ndarray, params: AugmentParams
) -> np.ndarray:
    """Contrast, brightness, gamma and noise of a patch.

    Parameters
    ----------
    image
        float32 in [0, 1], any shape.

    Returns
    -------
    ndarray
        float32 in [0, 1], of the same shape.
    """
    if not params.changes_grey_values:
        return image
    gain = 1 + rng.uniform(-params.gain, params.gain)
    offset = rng.uniform(-params.offset, params.offset)
    gamma = np.exp(rng.uniform(-params.gamma, params.gamma))
    noise = rng.uniform(0, params.noise) * rng.standard_normal(image.shape, dtype=np.float32)
    image = np.clip((image - 0.5) * gain + 0.5 + offset, 0, 1) ** gamma + noise
    return np.clip(image, 0, 1).astype(np.float32)
