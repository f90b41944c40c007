"""Findings about slices that are there twice: in one volume, in two splits, in two volumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from emsam.data.checks.finding import Finding, Kind, SlicePair, named_pairs
from emsam.data.checks.fingerprints import SAME, correlations, orientations, same_from
from emsam.data.splits import ZRange

_BLOCK = 1024
"""Slices compared with all others at once; a matrix of 1024 × 1000 is 4 MB."""


@dataclass(frozen=True)
class Prints:
    """What is compared of a volume.

    Attributes
    ----------
    prints
        Fingerprints (z, y, x).
    checksums
        Of the pixels of each slice, (z,) unsigned.
    """

    name: str
    prints: np.ndarray
    splits: Mapping[str, ZRange]
    checksums: np.ndarray | None = None

    @property
    def split_names(self) -> np.ndarray:
        """Split of each slice, (z,); empty for those in none."""
        names = np.full(len(self.prints), "", dtype="U8")
        for name, (first, last) in self.splits.items():
            names[first : last + 1] = name
        return names


def copies_within(volume: Prints) -> list[Finding]:
    """Slices of one volume that show one section: in two splits, which is leakage, or not."""
    splits = volume.split_names
    leaks: list[SlicePair] = []
    copies: list[SlicePair] = []
    for pair in _pairs_within(volume, splits):
        one, other = splits[pair.first], splits[pair.second]
        (leaks if one and other and one != other else copies).append(pair)
    found = []
    if leaks:
        text = f"the same section in two splits: slices {named_pairs(leaks)}"
        found.append(_finding("leakage", text, leaks))
    if copies:
        text = f"the same section twice: slices {named_pairs(copies)}"
        found.append(_finding("duplicates", text, copies))
    return found


def copies_between(volume: Prints, other: Prints) -> list[Finding]:
    """Slices that one of two volumes trains on and the other is judged on, in any orientation."""
    least = same_from(volume.prints, other.prints)
    mine, theirs = volume.split_names, other.split_names
    pairs = []
    for here, there in ((("train",), ("val", "test")), (("val", "test"), ("train",))):
        first = np.flatnonzero(np.isin(mine, here))
        second = np.flatnonzero(np.isin(theirs, there))
        if not first.size or not second.size:
            continue
        for turn, turned in enumerate(orientations(other.prints[second])):
            together = correlations(volume.prints[first], turned)
            for i in np.flatnonzero(together.max(axis=1) >= least):
                j = together[i].argmax()
                z, other_z, correlation = int(first[i]), int(second[j]), float(together[i, j])
                pairs.append(SlicePair(z, other_z, correlation, volume=other.name, turned=turn > 0))
    if not pairs:
        return []
    text = f"one volume trains on what the other is judged on: slices {named_pairs(pairs)}"
    return [_finding("leakage", text, pairs)]


def _pairs_within(volume: Prints, splits: np.ndarray) -> list[SlicePair]:
    """Each slice with the copy before it that is most like it, one for every split."""
    least = same_from(volume.prints)
    pairs = []
    for start in range(0, len(volume.prints), _BLOCK):
        block = correlations(volume.prints[start : start + _BLOCK], volume.prints)
        for second, row in enumerate(block, start):
            before = row[:second]
            equal = _equal_before(volume.checksums, second) & (before >= SAME)
            likeness = np.where(equal | (before >= least), before, -1.0)
            for first in _best_of_splits(likeness, splits[:second]):
                correlation = min(float(before[first]), 1.0)
                pairs.append(SlicePair(first, second, correlation, bool(equal[first])))
    return pairs


def _equal_before(checksums: np.ndarray | None, second: int) -> np.ndarray:
    if checksums is None:
        return np.zeros(second, bool)
    return np.asarray(checksums[:second] == checksums[second])


def _best_of_splits(likeness: np.ndarray, splits: np.ndarray) -> list[int]:
    """For each split the slice that is most like; -1 is unlike."""
    alike = np.flatnonzero(likeness > -1)
    best = {str(splits[z]): int(z) for z in alike[np.argsort(likeness[alike], kind="stable")]}
    return sorted(best.values())


def _finding(kind: Kind, text: str, pairs: Sequence[SlicePair]) -> Finding:
    slices = {pair.first for pair in pairs} | {p.second for p in pairs if not p.volume}
    return Finding(kind, text, slices=tuple(sorted(slices)), pairs=tuple(pairs))
