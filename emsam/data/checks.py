"""What is looked for in an image and its labels before they become a volume.

Errors stop an ingest and are raised as :class:`~emsam.errors.InputError`; findings that a person
should know of, but can train with, are collected as warnings.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from emsam.data.readers import TiffStack
from emsam.errors import InputError

IMAGE_DTYPES = ("uint8", "uint16", "float32", "float64")


@dataclass
class Findings:
    """What the slices showed, collected while they stream by.

    Attributes
    ----------
    missing
        Slices whose image is constant: a lost section. They are not trained on nor scored.
    unlabelled
        By task, slices in which every label is 0.
    largest_id, objects
        By task, the largest id and the number of objects summed over slices.
    """

    missing: list[int] = field(default_factory=list)
    unlabelled: dict[str, list[int]] = field(default_factory=dict)
    largest_id: dict[str, int] = field(default_factory=dict)
    objects: dict[str, int] = field(default_factory=dict)

    def warnings(self) -> list[str]:
        """One line a finding."""
        lines = []
        if self.missing:
            lines.append(
                f"constant image, taken as missing sections: slices {z_ranges(self.missing)}"
            )
        for task, slices in self.unlabelled.items():
            if slices:
                lines.append(f"no {task} labels in slices {z_ranges(slices)}")
        return lines


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


def check_grids(image: TiffStack, labels: Mapping[str, TiffStack]) -> None:
    """Refuse an image or labels that cannot belong together, before a pixel is read.

    Raises
    ------
    InputError
        An image that is not 8 or 16 bit or float, labels that are not integers, or labels on
        another grid than the image.
    """
    if image.dtype.name not in IMAGE_DTYPES:
        raise InputError(
            f"{image.path}: dtype {image.dtype.name}; give an 8 or 16 bit unsigned or float image"
        )
    for task, stack in labels.items():
        if stack.dtype.kind not in "ui":
            raise InputError(
                f"{stack.path}: {task} labels of dtype {stack.dtype.name}; instance ids are "
                "integers, convert them to an unsigned integer type"
            )
        if stack.shape != image.shape:
            raise InputError(
                f"{stack.path}: {task} labels of shape {stack.shape} on an image of shape "
                f"{image.shape} ({image.path}); give both on the same z,y,x grid"
            )


def check_image_slice(image: TiffStack, z: int, plane: np.ndarray, findings: Findings) -> None:
    """Look at one slice of the image; NaN and infinity are errors."""
    if plane.dtype.kind == "f" and not np.isfinite(plane).all():
        raise InputError(
            f"{image.path}: slice {z} holds NaN or infinite values; replace them before ingest"
        )
    if plane.min() == plane.max():
        findings.missing.append(z)


def check_label_slice(
    stack: TiffStack, task: str, z: int, plane: np.ndarray, findings: Findings
) -> None:
    """Look at one slice of labels; negative ids are errors."""
    if plane.dtype.kind == "i" and plane.min() < 0:
        raise InputError(f"{stack.path}: slice {z} has the id {plane.min()}; ids are 0 or greater")
    ids = np.unique(plane)
    ids = ids[ids > 0]
    if ids.size == 0:
        findings.unlabelled.setdefault(task, []).append(z)
    else:
        findings.largest_id[task] = max(findings.largest_id.get(task, 0), int(ids[-1]))
    findings.objects[task] = findings.objects.get(task, 0) + int(ids.size)


def refuse_empty_labels(paths: Mapping[str, Path], findings: Findings) -> None:
    """After the last slice: labels without a single object are an error."""
    for task, path in paths.items():
        if findings.objects.get(task, 0) == 0:
            raise InputError(f"{path}: all {task} labels are 0; give instance ids from 1 upwards")


def z_ranges(slices: list[int]) -> str:
    """``[1, 2, 3, 7]`` → ``"1-3, 7"``."""
    parts: list[list[int]] = []
    for z in slices:
        if parts and z == parts[-1][1] + 1:
            parts[-1][1] = z
        else:
            parts.append([z, z])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)
