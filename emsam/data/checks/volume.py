"""Looks at a stored volume again, and at other volumes for copies of its slices."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from emsam.data.checks.checker import Checker
from emsam.data.checks.copies import Prints, copies_between
from emsam.data.checks.finding import Finding, SlicePair
from emsam.data.checks.fingerprints import fingerprint
from emsam.data.pyramid import SLAB
from emsam.data.store import Volume
from emsam.errors import InputError
from emsam.progress import Progress

_TOGETHER = 4
"""Slices that are read together: memory is a few slices, and zarr is asked less often."""


@dataclass(frozen=True)
class Examination:
    """What was seen of a volume.

    Attributes
    ----------
    seen
        Measurements of its slices.
    findings
        Of the volume by itself, then of copies in other volumes.
    compared
        Names of the volumes that it was compared with.
    others
        Those volumes in which copies were found.
    """

    volume: Volume
    seen: Checker
    findings: tuple[Finding, ...]
    compared: tuple[str, ...]
    others: dict[str, Volume]

    @property
    def warned(self) -> bool:
        return any(each.level == "warning" for each in self.findings)


def examine_volume(
    volume: Volume, others: Iterable[Path] = (), progress: Progress | None = None
) -> Examination:
    """Look at every slice of ``volume`` and compare it with the stores ``others``.

    What is no volume among ``others`` is passed over. They are compared by the coarsest level of
    their pyramids, so that volumes of any age can be compared and none is read whole.
    """
    info, seen = volume.info, _look_at_all(volume, progress)
    findings = seen.findings(info.splits, info.known_missing)
    compared, with_copies = [], {}
    for name, other in _volumes(others, volume.path):
        compared.append(name)
        prints = Prints(name, coarse_fingerprints(other), other.info.splits)
        for finding in copies_between(seen.prints(info.name, info.splits), prints):
            pairs = tuple(_with_pixels(pair, volume, other) for pair in finding.pairs)
            findings.append(replace(finding, pairs=pairs))
            with_copies[name] = other
    return Examination(volume, seen, tuple(findings), tuple(compared), with_copies)


def _look_at_all(volume: Volume, progress: Progress | None) -> Checker:
    depth, tasks = volume.shape[0], volume.tasks
    seen = Checker(str(volume.path), dict.fromkeys(tasks, str(volume.path)))
    for first in range(0, depth, _TOGETHER):
        last = min(first + _TOGETHER, depth) - 1
        image, coarse = (volume.stored("image", first, last, level) for level in (0, -1))
        labels = {task: volume.stored(f"labels/{task}", first, last) for task in tasks}
        for i, planes in enumerate(zip(image, coarse, strict=True)):
            seen.look(*planes, {task: slab[i] for task, slab in labels.items()})
        if progress:
            progress(last + 1, depth)
    return seen


def coarse_fingerprints(volume: Volume) -> np.ndarray:
    """Fingerprints (z, y, x) of all slices, from the coarsest level of the pyramid."""
    depth = volume.shape[0]
    prints = [
        fingerprint(plane)
        for first in range(0, depth, SLAB)
        for plane in volume.stored("image", first, min(first + SLAB, depth) - 1, level=-1)
    ]
    return np.stack(prints)


def _volumes(stores: Iterable[Path], but: Path) -> Iterable[tuple[str, Volume]]:
    """Name (of the folder) and volume of every store that can be opened, but the store ``but``."""
    for store in sorted(stores):
        if store.resolve() == but.resolve():
            continue
        try:
            yield store.parent.name, Volume(store)
        except InputError:
            continue


def _with_pixels(pair: SlicePair, volume: Volume, other: Volume) -> SlicePair:
    """The pair with ``identical`` set if every pixel is the same."""
    if pair.turned or volume.shape[1:] != other.shape[1:]:
        return pair
    mine, theirs = (
        each.stored("image", z, z) for each, z in ((volume, pair.first), (other, pair.second))
    )
    return replace(pair, identical=bool(np.array_equal(mine, theirs)))
