"""Training patches: which, is decided by (seed, step) alone.

A run that was stopped and resumed therefore sees the same data as one that was never stopped.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from emsam.data.augment import augment_patch
from emsam.data.store import Volume
from emsam.errors import InputError
from emsam.params import AugmentParams

_CACHED_SLICES = 256


class PatchSampler:
    """Draws batches of augmented patches from one split of a volume.

    Parameters
    ----------
    size
        Side of a patch in pixels.
    seed
        Of the run.

    Raises
    ------
    InputError
        No labels of the task, no such split, or slices smaller than a patch.
    """

    def __init__(
        self,
        volume: Volume,
        task: str,
        *,
        size: int,
        seed: int,
        augment: AugmentParams,
        split: str = "train",
    ) -> None:
        volume.require_task(task)
        if min(volume.shape[1:]) < size:
            raise InputError(
                f"{volume.path}: slices of {volume.shape[1]}×{volume.shape[2]} pixels are smaller "
                f"than train.patch = {size}; set train.patch to a smaller multiple of 16"
            )
        self._slices = volume.slices(split, task)
        self._size = size
        self._seed = seed
        self._augment = augment
        self._read = lru_cache(maxsize=_CACHED_SLICES)(
            lambda z: (volume.image(z), volume.labels(task, z))
        )

    def batch(self, step: int, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
        """Images (n, y, x) float32 in [0, 1] and labels (n, y, x) int32 of one step."""
        rng = np.random.default_rng((self._seed, step))
        pairs = [self._patch(rng) for _ in range(batch_size)]
        images, labels = zip(*pairs, strict=True)
        return np.stack(images), np.stack(labels)

    def _patch(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        image, labels = self._read(int(rng.choice(self._slices)))
        height, width = image.shape
        y = int(rng.integers(height - self._size + 1))
        x = int(rng.integers(width - self._size + 1))
        window = (slice(y, y + self._size), slice(x, x + self._size))
        return augment_patch(rng, image[window], _as_int32(labels[window]), self._augment)


def _as_int32(labels: np.ndarray) -> np.ndarray:
    """Ids as torch takes them; where they are too large for it they are numbered anew."""
    if labels.max() <= np.iinfo(np.int32).max:
        return labels.astype(np.int32)
    present, index = np.unique(labels, return_inverse=True)
    start = 0 if present[0] == 0 else 1
    return (index.reshape(labels.shape) + start).astype(np.int32)
