"""What stops an ingest: input that cannot become a volume."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import numpy as np

from emsam.errors import InputError

IMAGE_DTYPES = ("uint8", "uint16", "float16", "float32", "float64")


class Grid(Protocol):
    """A z,y,x stack of which no pixel was read yet."""

    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> tuple[int, int, int]: ...
    @property
    def dtype(self) -> np.dtype[np.generic]: ...


def check_voxel_size(voxel_size: tuple[float, float, float]) -> None:
    """Refuse lengths that no voxel has.

    Raises
    ------
    InputError
        A length that is not positive and finite.
    """
    if not all(math.isfinite(side) and side > 0 for side in voxel_size):
        given = ",".join(f"{side:g}" for side in voxel_size)
        raise InputError(f"--voxel-size {given}: give three positive lengths z,y,x in nm")


def check_grids(image: Grid, labels: Mapping[str, Grid]) -> None:
    """Refuse an image or labels that cannot belong together, before a pixel is read.

    Raises
    ------
    InputError
        An image that is not 8 or 16 bit or float, labels that are not integers, or labels on
        another grid than the image.
    """
    if image.dtype.name not in IMAGE_DTYPES:
        raise InputError(
            f"{image.name}: dtype {image.dtype.name}; give an 8 or 16 bit unsigned or float image"
        )
    for task, stack in labels.items():
        if stack.dtype.kind not in "ui":
            raise InputError(
                f"{stack.name}: {task} labels of dtype {stack.dtype.name}; instance ids are "
                "integers, convert them to an unsigned integer type"
            )
        if stack.shape != image.shape:
            raise InputError(
                f"{stack.name}: {task} labels of shape {stack.shape} on an image of shape "
                f"{image.shape} ({image.name}); give both on the same z,y,x grid"
            )


def refuse_image(name: str, z: int, plane: np.ndarray) -> None:
    """Raise :class:`InputError` if slice ``z`` of the image holds NaN or infinity."""
    if plane.dtype.kind == "f" and not np.isfinite(plane).all():
        raise InputError(
            f"{name}: slice {z} holds NaN or infinite values; replace them before ingest"
        )


def refuse_labels(name: str, z: int, plane: np.ndarray) -> None:
    """Raise :class:`InputError` if slice ``z`` of the labels holds negative ids."""
    if plane.dtype.kind == "i" and plane.min() < 0:
        raise InputError(f"{name}: slice {z} has the id {plane.min()}; ids are 0 or greater")


def refuse_empty_labels(name: str, task: str, objects: int) -> None:
    """After the last slice: raise :class:`InputError` if there was not a single object."""
    if objects == 0:
        raise InputError(f"{name}: all {task} labels are 0; give instance ids from 1 upwards")
