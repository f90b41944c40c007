"""What a viewer shows: a volume, its ground truth, the masks of one or two models."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from emsam.data.predictions import Predictions
from emsam.data.pyramid import pyramid_levels
from emsam.data.store import Volume, rescale
from emsam.documents import read_object
from emsam.errors import InputError
from emsam.segment.kept_predictions import errors_file

IMAGE, TRUTH, A, B = "image", "truth", "a", "b"
MOST_LISTED = 300
"""Errors of each model that the list in the browser has."""


@dataclass(frozen=True)
class Masks:
    """What one model predicted.

    Attributes
    ----------
    errors
        By slice, the worst first, as ``emsam.segment.kept_predictions`` writes them.
    """

    name: str
    predictions: Predictions
    errors: Mapping[int, list[dict[str, Any]]]

    @classmethod
    def open(cls, name: str, store: Path, remedy: str) -> Masks:
        """Masks of a store of predictions.

        Parameters
        ----------
        remedy
            What a user can do where there is none, for the message.

        Raises
        ------
        InputError
            There is none, or it is damaged.
        """
        if not store.exists():
            old = store.with_suffix(".tif").exists()
            said = "its masks are of an older EM-SAM" if old else "no masks were kept"
            raise InputError(f"{name}: {said}; {remedy}")
        return cls(name, Predictions(store), _read_errors(store, remedy))


@dataclass(frozen=True)
class Scene:
    """A volume and the masks that are compared on it.

    Attributes
    ----------
    digest
        Data set version that was judged.
    masks
        By ``a`` and ``b``.
    """

    volume: Volume
    task: str
    digest: str
    masks: Mapping[str, Masks]

    def __post_init__(self) -> None:
        self.volume.require_task(self.task)
        depth, *side = self.volume.shape
        for each in self.masks.values():
            if list(each.predictions.shape) != side or each.predictions.slices[-1] >= depth:
                raise InputError(
                    f"{each.name}: its masks have slices of {each.predictions.shape}, volume "
                    f"{self.volume.info.name} is now {self.volume.shape}; evaluate again"
                )

    @cached_property
    def slices(self) -> list[int]:
        """Slices that a model has predicted, ascending."""
        return sorted({z for each in self.masks.values() for z in each.predictions.slices})

    @cached_property
    def levels(self) -> int:
        """Levels of the pyramid."""
        return pyramid_levels(self.volume.shape)

    @cached_property
    def token(self) -> str:
        """Another one where anything that is shown may have changed on the disk."""
        paths = [self.volume.path, *(each.predictions.path for each in self.masks.values())]
        seen = [(str(path), (path / "zarr.json").stat().st_mtime_ns) for path in paths]
        return hashlib.sha256(repr((seen, self.task)).encode()).hexdigest()[:16]

    def layers(self) -> list[str]:
        """What can be read by :meth:`read`."""
        return [IMAGE, TRUTH, *self.masks]

    def read(self, layer: str, z: int, level: int, rows: slice, columns: slice) -> np.ndarray:
        """A window (y, x) of a layer: grey values as uint8, or ids as they are stored."""
        if layer == IMAGE:
            grey = self.volume.window("image", z, level, rows, columns)
            return (rescale(grey, self.volume.info.intensity) * 255).astype(np.uint8)
        if layer == TRUTH:
            return self.volume.window(f"labels/{self.task}", z, level, rows, columns)
        predictions = self.masks[layer].predictions
        if z not in predictions.slices:
            height, width = (-(-side >> level) for side in predictions.shape)
            return np.zeros(
                (len(range(height)[rows]), len(range(width)[columns])), np.uint32
            )  # only the other model was judged on it
        return predictions.window(z, level, rows, columns)

    def describe(self) -> dict[str, Any]:
        """What the browser must know before the first tile."""
        return {
            "shape": self.volume.shape,
            "voxel": self.volume.info.voxel_size,
            "levels": self.levels,
            "slices": self.slices,
            "names": {key: each.name for key, each in self.masks.items()},
            "worst": [
                {"model": key} | error
                for key, each in self.masks.items()
                for error in _worst(each.errors)
            ],
            "counts": {
                key: sum(map(len, each.errors.values())) for key, each in self.masks.items()
            },
        }

    def errors_of(self, z: int) -> dict[str, list[dict[str, Any]]]:
        """All listed errors of slice ``z``, by model."""
        return {key: each.errors.get(z, []) for key, each in self.masks.items()}


def _worst(errors: Mapping[int, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    every = [error for of_slice in errors.values() for error in of_slice]
    return sorted(every, key=lambda error: -error["severity"])[:MOST_LISTED]


def _read_errors(store: Path, remedy: str) -> dict[int, list[dict[str, Any]]]:
    path = errors_file(store)
    try:
        listed = read_object(path, remedy)["errors"]
        by_slice: dict[int, list[dict[str, Any]]] = {}
        for error in listed:
            by_slice.setdefault(int(error["z"]), []).append(error)
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{path}: missing or damaged; {remedy}") from None
    return by_slice
