"""Random changes that an EM image could have come with."""

from __future__ import annotations

import numpy as np

from emsam.params import AugmentParams


def augment_patch(
    rng: np.random.Generator, image: np.ndarray, labels: np.ndarray, params: AugmentParams
) -> tuple[np.ndarray, np.ndarray]:
    """Flip and turn a square patch, then change its grey values.

    Parameters
    ----------
    image
        float32 in [0, 1], shape (n, n).
    labels
        Ids, shape (n, n).

    Returns
    -------
    image, labels
        Of the same shapes and dtypes; the image stays in [0, 1].
    """
    if params.flips:
        turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))
        image, labels = np.rot90(image, turns), np.rot90(labels, turns)
        if mirrored:
            image, labels = image[:, ::-1], labels[:, ::-1]
    gain = 1 + rng.uniform(-params.gain, params.gain)
    offset = rng.uniform(-params.offset, params.offset)
    gamma = np.exp(rng.uniform(-params.gamma, params.gamma))
    noise = rng.uniform(0, params.noise) * rng.standard_normal(image.shape, dtype=np.float32)
    image = np.clip((image - 0.5) * gain + 0.5 + offset, 0, 1) ** gamma + noise
    return np.clip(image, 0, 1).astype(np.float32), np.ascontiguousarray(labels)
