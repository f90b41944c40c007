"""Training patches: which, is decided by (seed, step) alone.

A run that was stopped and resumed therefore sees the same data as one that was never stopped.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from emsam.data.store import Volume
from emsam.errors import InputError
from emsam.params import Params

UNLABELLED = -1
"""In a batch's labels: nobody has labelled this pixel."""
ORIENTATIONS = 8
"""Positions of a square: four turns, each also mirrored."""
_CACHED_SLICES = 256


class Place(NamedTuple):
    """Where a patch begins, in voxels, and how it is turned."""

    z: int
    y: int
    x: int
    orientation: int


class Batch(NamedTuple):
    """Patches of one step, each in a square window with tissue around it, turned with it.

    Images are (n, y, x) float32 in [0, 1], labels (n, y, x) int32: ids, 0 where there is no
    object, :data:`UNLABELLED`. ``corners`` (n, 2) says at which y, x of its window a patch begins.
    """

    images: np.ndarray
    labels: np.ndarray
    places: list[Place]
    corners: np.ndarray


class PatchSampler:
    """Draws batches of patches, flipped and turned, from one split of a volume.

    Parameters
    ----------
    size
        Side of a patch in pixels.
    seed
        Of the run.
    unlabelled
        The id in the volume of pixels that nobody has labelled; ``None`` where all are.
    flips
        Mirror patches and turn them by 90°.
    margin
        Pixels of the window around a patch, for those who deform it. A window lies in its slice:
        at the border it has more on the other side, and in a small slice it is smaller.
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
        flips: bool,
        margin: int = 0,
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
        self._window = min(size + 2 * margin, *self._sides)
        self._seed = seed
        self._unlabelled = unlabelled
        self._grid = grid
        self._orientations = ORIENTATIONS if flips else 1
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
            unlabelled=params.targets.unlabelled,
            flips=params.augment.flips,
            margin=params.augment.margin(params.train.patch),
            grid=params.train.patches == "grid",
        )

    def batch(self, step: int, batch_size: int) -> Batch:
        """The patches of one step."""
        rng = np.random.default_rng((self._seed, step))
        places = [self._draw(rng) for _ in range(batch_size)]
        images, labels, corners = [], [], []
        for place in places:
            y, x = self._begin(place)
            images.append(_cut(self._image(place.z), y, x, self._window, place.orientation))
            ids = _cut(self._labels(place.z), y, x, self._window, place.orientation)
            labels.append(_as_int32(ids, self._unlabelled))
            room = self._window - self._size
            corners.append(_turned(place.y - y, place.x - x, room, place.orientation))
        return Batch(np.stack(images), np.stack(labels), places, np.array(corners))

    def image(self, place: Place) -> np.ndarray:
        """A patch as it is in the volume, turned; (y, x) float32 in [0, 1]."""
        whole = self._image(place.z)
        return _cut(whole, place.y, place.x, self._size, place.orientation)

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

    def _begin(self, place: Place) -> tuple[int, int]:
        """y, x of the window around a patch."""
        margin = (self._window - self._size) // 2
        height, width = (side - self._window for side in self._sides)
        return min(max(place.y - margin, 0), height), min(max(place.x - margin, 0), width)


def orient(square: np.ndarray, orientation: int) -> np.ndarray:
    """Turn a square patch (n, n) by 90° ``orientation % 4`` times; from 4 on mirror it as well."""
    turned = np.rot90(square, orientation % 4)
    return turned[:, ::-1] if orientation >= 4 else turned


def _turned(y: int, x: int, room: int, orientation: int) -> tuple[int, int]:
    """Where a patch begins in its window once both are turned by :func:`orient`.

    ``room`` is by how many pixels the window is larger.
    """
    for _ in range(orientation % 4):
        y, x = room - x, y
    return (y, room - x) if orientation >= 4 else (y, x)


def _cut(whole: np.ndarray, y: int, x: int, size: int, orientation: int) -> np.ndarray:
    return orient(whole[y : y + size, x : x + size], orientation)


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
