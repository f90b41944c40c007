"""Findings about labels: slices without any, objects off the image, objects in pieces."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from emsam.data.checks.finding import Finding, z_ranges
from emsam.data.checks.objects import (
    SliceObjects,
    constant_objects,
    measure_objects,
    same_id_share,
)

THROUGH_SLICES = 0.5
"""Median share of the same id in neighbouring slices from which ids go through the slices.

Ids that start from 1 in each slice reach 0.27 where objects are dense; 3D ids have 0.91 and more.
"""
SPARSE = 5
"""Objects a slice, in the median, from which a slice without any is a surprise.

If they were scattered at random, one slice in 150 would have none (e⁻⁵). Tissue without neurites
there is none, so neurites are never sparse.
"""
_WORST = 8
"""Objects that a finding names."""


@dataclass
class TaskLabels:
    """What is kept of the labels of one task, slice by slice.

    Attributes
    ----------
    objects, labelled, areas
        Objects of each slice, its labelled part, and the pixels of each object.
    in_parts
        (slice, id, parts, pixels outside the largest part) of objects in several parts.
    blank
        (slice, id) of objects where the image is constant.
    same
        :func:`~emsam.data.checks.objects.same_id_share` of each slice and the one before.
    from_one
        For each slice with objects: whether the ids are 1 to n.
    """

    objects: list[int] = field(default_factory=list)
    labelled: list[float] = field(default_factory=list)
    areas: list[np.ndarray] = field(default_factory=list)
    in_parts: list[tuple[int, int, int, int]] = field(default_factory=list)
    blank: list[tuple[int, int]] = field(default_factory=list)
    same: list[float] = field(default_factory=list)
    from_one: list[bool] = field(default_factory=list)
    _before: np.ndarray | None = None

    def look(self, labels: np.ndarray, image: np.ndarray) -> None:
        """Take in the next slice, ids and grey values (y, x)."""
        z, objects = len(self.objects), measure_objects(labels)
        self.objects.append(len(objects.ids))
        self.labelled.append(float(objects.areas.sum() / labels.size))
        self.areas.append(objects.areas)
        if objects.ids.size:
            self.from_one.append(bool(objects.ids[-1] == objects.ids.size))
            self._look_at_objects(z, labels, image, objects)
        if self._before is not None and self.objects[-1] and self.objects[-2]:
            self.same.append(same_id_share(labels, self._before))
        self._before = labels

    def kept(self) -> dict[str, list[Any]]:
        """All lists, by name; each only grows at its end."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name[0] != "_"}

    def go_on(self, lists: Mapping[str, list[Any]], last: np.ndarray) -> None:
        """Take up what :meth:`kept` gave, and the ids (y, x) of the last slice."""
        for name, items in self.kept().items():
            # JSON has lists where there were tuples
            items += [tuple(each) if isinstance(each, list) else each for each in lists[name]]
        self._before = last

    def _look_at_objects(
        self, z: int, labels: np.ndarray, image: np.ndarray, objects: SliceObjects
    ) -> None:
        for i in np.flatnonzero(objects.parts > 1):
            outside = int(objects.areas[i] - objects.largest[i])
            self.in_parts.append((z, int(objects.ids[i]), int(objects.parts[i]), outside))
        if image.min() != image.max():  # where a whole section is missing, that is the finding
            blank = constant_objects(labels, image, objects)
            self.blank += [(z, int(number)) for number in blank]

    @property
    def unlabelled(self) -> tuple[int, ...]:
        """Slices without an object."""
        return tuple(z for z, count in enumerate(self.objects) if count == 0)

    @property
    def through_slices(self) -> bool:
        """Whether an id names one object through the slices (3D), not one of each slice (2D)."""
        counts = {count for count in self.objects if count}
        numbered_anew = all(self.from_one) and len(counts) > 1
        return (
            bool(self.same) and float(np.median(self.same)) >= THROUGH_SLICES and not numbered_anew
        )


def label_findings(task: str, labels: TaskLabels, missing: Collection[int]) -> list[Finding]:
    """Findings about the labels of a task; ``missing`` are slices without an image."""
    found = [_unlabelled(task, labels, missing), _blank(task, labels), _parts(task, labels)]
    return [finding for each in found for finding in each]


def _unlabelled(task: str, labels: TaskLabels, missing: Collection[int]) -> list[Finding]:
    where = tuple(z for z in labels.unlabelled if z not in missing)
    if not where:
        return []
    sparse = task != "neurites" and float(np.median(labels.objects)) < SPARSE
    text = f"no {task} labels in slices {z_ranges(where)}"
    return [Finding("unlabelled", text, "note" if sparse else "warning", task, where)]


def _blank(task: str, labels: TaskLabels) -> list[Finding]:
    if not labels.blank:
        return []
    slices = tuple(sorted({z for z, _ in labels.blank}))
    text = (
        f"{_count(len(labels.blank), 'object')} of the {task} labels where the image is constant "
        f"(padding?): slices {z_ranges(slices)}"
    )
    return [Finding("blank objects", text, task=task, slices=slices,
                    ids=tuple(labels.blank[:_WORST]))]  # fmt: skip


def _parts(task: str, labels: TaskLabels) -> list[Finding]:
    if not labels.in_parts or labels.through_slices:
        return []
    worst = sorted(labels.in_parts, key=lambda each: (-each[2], -each[3]))
    z, number, parts, _ = worst[0]
    outside = max(each[3] for each in worst)
    slices = tuple(sorted({each[0] for each in worst}))
    text = (
        f"{_count(len(worst), 'object')} of {sum(labels.objects)} of the {task} labels in several "
        f"parts, id {number} of slice {z} in {parts}, up to {outside} px apart from the largest "
        f"part: slices {z_ranges(slices)}"
    )
    ids = tuple((z, number) for z, number, _, _ in worst[:_WORST])
    return [Finding("parts", text, task=task, slices=slices, ids=ids)]


def _count(number: int, word: str) -> str:
    return f"{number} {word}" + ("" if number == 1 else "s")
