"""Looks at the slices of a volume while they stream by, and says what it found."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from emsam.data.checks import refusals
from emsam.data.checks.copies import Prints, copies_within
from emsam.data.checks.finding import Finding
from emsam.data.checks.images import SliceImage, image_findings, measure_image
from emsam.data.checks.labels import TaskLabels, label_findings
from emsam.data.splits import ZRange


class Checker:
    """Looks at slices in order of z and keeps measurements, never the slices before the last.

    Parameters
    ----------
    image, labels
        Where the slices come from, for messages; labels by task.
    """

    def __init__(self, image: str, labels: Mapping[str, str]) -> None:
        self._image_name, self._label_names = image, dict(labels)
        self.slices: list[SliceImage] = []
        self.tasks = {task: TaskLabels() for task in labels}

    def look(self, image: np.ndarray, coarse: np.ndarray, labels: Mapping[str, np.ndarray]) -> None:
        """Take in the next slice.

        Parameters
        ----------
        image, coarse
            Grey values (y, x), and what the coarsest level of the pyramid has of them.
        labels
            By task, ids (y, x).

        Raises
        ------
        InputError
            NaN or infinite grey values, negative ids.
        """
        z = len(self.slices)
        refusals.refuse_image(self._image_name, z, image)
        self.slices.append(measure_image(image, coarse))
        for task, plane in labels.items():
            refusals.refuse_labels(self._label_names[task], z, plane)
            self.tasks[task].look(plane, image)

    def kept(self) -> dict[str, list[Any]]:
        """By name, all that is kept of the slices; each list only grows at its end."""
        lists: dict[str, list[Any]] = {"slices": self.slices}
        for task, seen in self.tasks.items():
            lists |= {f"{task}/{name}": items for name, items in seen.kept().items()}
        return lists

    def go_on(self, lists: Mapping[str, list[Any]], last: Mapping[str, np.ndarray]) -> None:
        """Take up what :meth:`kept` gave, and by task the labels (y, x) of the last slice."""
        self.slices += [SliceImage(*each) for each in lists["slices"]]
        for task, seen in self.tasks.items():
            seen.go_on({name: lists[f"{task}/{name}"] for name in seen.kept()}, last[task])

    def refuse_empty_labels(self) -> None:
        """After the last slice: raise :class:`InputError` for labels without a single object."""
        for task, seen in self.tasks.items():
            refusals.refuse_empty_labels(self._label_names[task], task, sum(seen.objects))

    @property
    def missing(self) -> tuple[int, ...]:
        """Slices whose image is constant: lost sections. They are not trained on nor scored."""
        return tuple(z for z, each in enumerate(self.slices) if each.constant)

    @property
    def unlabelled(self) -> dict[str, tuple[int, ...]]:
        """By task, slices without an object; tasks without such a slice are left out."""
        return {task: seen.unlabelled for task, seen in self.tasks.items() if seen.unlabelled}

    def prints(self, name: str, splits: Mapping[str, ZRange]) -> Prints:
        """What is compared with other slices."""
        fingerprints = np.stack([each.fingerprint for each in self.slices])
        checksums = np.array([each.checksum for each in self.slices], np.uint64)
        return Prints(name, fingerprints, splits, checksums)

    def findings(
        self, splits: Mapping[str, ZRange], known_missing: Collection[int] = ()
    ) -> list[Finding]:
        """All findings of a volume by itself, the image's first."""
        found = image_findings(self.slices, known_missing)
        found += copies_within(self.prints("", splits))
        for task, seen in self.tasks.items():
            found += label_findings(task, seen, self.missing)
        return found

    def warnings(self, splits: Mapping[str, ZRange]) -> tuple[str, ...]:
        """The lines of those findings that are warnings."""
        return tuple(each.message for each in self.findings(splits) if each.level == "warning")
