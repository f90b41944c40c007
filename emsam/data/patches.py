"""Training patches: which, is decided by (seed, step) alone.

A run that was stopped and resumed therefore sees the same data as one that was never stopped.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from emsam.data.augment import ORIENTATIONS, change_grey_values, orient
from emsam.data.store import Volume
from emsam.errors import InputError
from emsam.params import AugmentParams, Params

UNLABELLED = -1
"""In a batch's labels: nobody has labelled this pixel."""
_CACHED_SLICES = 256


class Place(NamedTuple):
    """Where a patch begins, in voxels, and how it is turned."""

    z: int
    y: int
    x: int
    orientation: int


class Batch(NamedTuple):
    """Patches of one step: images (n, y, x) float32 in [0, 1] and labels (n, y, x) int32.

    Labels are ids, 0 where there is no object, and :data:`UNLABELLED`.
    """

    images: np.ndarray
    labels: np.ndarray
    places: list[Place]


class PatchSampler:
    """Draws batches of augmented patches from one split of a volume.

    Parameters
    ----------
    size
        Side of a patch in pixels.
    seed
        Of the run.
    unlabelled
        The id in the volume of pixels that nobody has labelled; ``None`` where all are.
    grid
        Patches lie side by side instead of anywhere, the last of a row at the border.

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
        unlabelled: int | None = None,
        grid: bool = False,
        split: str = "train",
    ) -> None:
        volume.require_task(task)
        if min(volume.shape[1:]) < size:
            raise InputError(
                f"{volume.path}: slices of {volume.shape[1]}×{volume.shape[2]} pixels are smaller "
                f"than train.patch = {size}; set train.patch to a smaller multiple of 16"
            )
        self._slices = volume.slices(split, task)
        self._sides = volume.shape[1:]
        self._size = size
        self._seed = seed
        self._augment = augment
        self._unlabelled = unlabelled
        self._grid = grid
        self._orientations = ORIENTATIONS if augment.flips else 1
        self._image = lru_cache(maxsize=_CACHED_SLICES)(volume.image)
        self._labels = lru_cache(maxsize=_CACHED_SLICES)(lambda z: volume.labels(task, z))

    @classmethod
    def of_job(cls, volume: Volume, params: Params) -> PatchSampler:
        """The training patches of a job."""
        return cls(
            volume,
            params.task,
            size=params.train.patch,
            seed=params.seed,
            augment=params.augment,
            unlabelled=params.targets.unlabelled,
            grid=params.train.patches == "grid",
        )

    def batch(self, step: int, batch_size: int) -> Batch:
        """The patches of one step."""
        rng = np.random.default_rng((self._seed, step))
        images, labels, places = [], [], []
        for _ in range(batch_size):
            place = self._draw(rng)
            places.append(place)
            images.append(change_grey_values(rng, self.image(place), self._augment))
            labels.append(_as_int32(self._cut(self._labels(place.z), place), self._unlabelled))
        return Batch(np.stack(images), np.stack(labels), places)

    def image(self, place: Place) -> np.ndarray:
        """A patch as it is in the volume, turned; (y, x) float32 in [0, 1]."""
        return self._cut(self._image(place.z), place)

    def grid_places(self) -> list[Place]:
        """Every patch of the grid in every orientation."""
        rows, columns = (_corners(side, self._size) for side in self._sides)
        return [
            Place(z, y, x, orientation)
            for z in self._slices
            for y in rows
            for x in columns
            for orientation in range(self._orientations)
        ]

    def _draw(self, rng: np.random.Generator) -> Place:
        z = int(rng.choice(self._slices))
        if self._grid:
            y, x = (int(rng.choice(_corners(side, self._size))) for side in self._sides)
        else:
            y, x = (int(rng.integers(side - self._size + 1)) for side in self._sides)
        return Place(z, y, x, int(rng.integers(self._orientations)))

    def _cut(self, whole: np.ndarray, place: Place) -> np.ndarray:
        window = whole[place.y : place.y + self._size, place.x : place.x + self._size]
        return orient(window, place.orientation)


def _corners(side: int, size: int) -> list[int]:
    """Where patches begin along one axis, so that they cover it."""
    return [*range(0, side - size, size), side - size]


def _as_int32(labels: np.ndarray, unlabelled: int | None) -> np.ndarray:
    """Ids as torch takes them; where they are too large for it they are numbered anew."""
    if labels.max() <= np.iinfo(np.int32).max:
        ids = labels.astype(np.int32)
    else:
        present, index = np.unique(labels, return_inverse=True)
        start = 0 if present[0] == 0 else 1
        ids = (index.reshape(labels.shape) + start).astype(np.int32)
    return ids if unlabelled is None else np.where(labels == unlabelled, np.int32(UNLABELLED), ids)
