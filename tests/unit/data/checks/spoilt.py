"""The synthetic volume as arrays, to be spoilt, and what the checks then find."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from emsam.data.checks import Checker, Finding
from emsam.data.halving import image_levels
from emsam.data.splits import ZRange
from emsam.data.store import Volume


@dataclass
class Stack:
    """Image and labels (z, y, x), free to be changed."""

    image: np.ndarray
    labels: dict[str, np.ndarray]
    splits: dict[str, ZRange] = field(default_factory=dict)

    def findings(self) -> list[Finding]:
        checker = Checker("em.tif", {task: f"{task}.tif" for task in self.labels})
        for z, plane in enumerate(self.image):
            ids = {task: labels[z] for task, labels in self.labels.items()}
            checker.look(plane, image_levels(plane)[-1], ids)
        return checker.findings(self.splits)

    def kinds(self) -> list[str]:
        return [finding.kind for finding in self.findings()]

    def only(self, kind: str) -> Finding:
        """The only finding there is, which has to be a warning of that kind."""
        found = self.findings()
        assert [(each.kind, each.level) for each in found] == [(kind, "warning")], found
        return found[0]


def stack_of(volume: Volume) -> Stack:
    """A copy without its missing section."""
    last = volume.shape[0] - 1
    keep = [z for z in range(last + 1) if z not in volume.info.missing]
    labels = {task: volume.stored(f"labels/{task}", 0, last)[keep] for task in volume.tasks}
    return Stack(volume.stored("image", 0, last)[keep], labels)
