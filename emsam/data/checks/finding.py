"""A finding: something that a person should know of a volume, and can train with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "missing", "saturated", "duplicates", "leakage", "jumps", "intensity",
    "unlabelled", "blank objects", "parts",
]  # fmt: skip
Level = Literal["warning", "note"]


@dataclass(frozen=True)
class SlicePair:
    """Two slices that a finding holds against each other.

    Attributes
    ----------
    first, second
        Slice of the volume that is looked at, and the other one.
    correlation
        Of their fingerprints (:mod:`emsam.data.checks.fingerprints`).
    identical
        Every pixel is the same.
    volume
        Name of the volume that ``second`` is a slice of; empty for the same one.
    turned
        ``second`` is a mirrored or turned copy.
    """

    first: int
    second: int
    correlation: float
    identical: bool = False
    volume: str = ""
    turned: bool = False

    def __str__(self) -> str:
        other = f"{self.volume} {self.second}" if self.volume else str(self.second)
        how = ("identical" if self.identical else "") + (" turned" if self.turned else "")
        return f"{self.first}/{other}" + (f" ({how.strip()})" if how else "")


@dataclass(frozen=True)
class Finding:
    """One kind of finding.

    Attributes
    ----------
    message
        A line for people.
    level
        A *note* is worth a look in the report, but nothing has to be done about it.
    task
        Whose labels it is about; empty if it is about the image.
    slices
        Where it was found.
    pairs
        What was compared, for findings about two slices.
    ids
        (slice, object id) of the worst objects, for findings about objects.
    """

    kind: Kind
    message: str
    level: Level = "warning"
    task: str = ""
    slices: tuple[int, ...] = ()
    pairs: tuple[SlicePair, ...] = ()
    ids: tuple[tuple[int, int], ...] = ()


def z_ranges(slices: Iterable[int]) -> str:
    """``[1, 2, 3, 7]`` → ``"1-3, 7"``; slices in ascending order."""
    parts: list[list[int]] = []
    for z in slices:
        if parts and z == parts[-1][1] + 1:
            parts[-1][1] = z
        else:
            parts.append([z, z])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def named_pairs(pairs: Iterable[SlicePair], most: int = 5) -> str:
    """``"33/34, 35/36 and 4 more"``."""
    named = [str(pair) for pair in pairs]
    rest = f" and {len(named) - most} more" if len(named) > most else ""
    return ", ".join(named[:most]) + rest
