"""Splits of a volume by z-range, never by shuffled slices: neighbours look nearly the same."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise

from emsam.errors import InputError

SPLIT_NAMES = ("train", "val", "test")
ZRange = tuple[int, int]
"""First and last slice, both included."""

_RANGE = re.compile(r"(\d+)(?:-(\d+))?")


def parse_splits(text: str, depth: int, *, train: bool = True) -> dict[str, ZRange]:
    """``"train=0-43,val=44-62"`` → ``{"train": (0, 43), "val": (44, 62)}``.

    Parameters
    ----------
    text
        z-ranges with both ends included; ``val=5`` is a single slice.
    depth
        Number of slices of the volume.
    train
        Whether there must be slices for training.

    Raises
    ------
    InputError
        Unknown name, unreadable or empty range, a range outside the volume, two ranges that
        overlap, or no ``train``.
    """
    splits: dict[str, ZRange] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = item.partition("=")
        match = _RANGE.fullmatch(value.strip())
        if name not in SPLIT_NAMES or match is None:
            raise InputError(f"--split {item}: write it as train=0-43,val=44-62,test=63-79")
        if name in splits:
            raise InputError(f"--split {text}: {name} is given twice; name one z-range")
        first = int(match[1])
        last = int(match[2] or first)
        if first > last or last >= depth:
            raise InputError(f"--split {item}: not a z-range of a volume with slices 0-{depth - 1}")
        splits[name] = (first, last)
    if "train" not in splits and (train or not splits):
        raise InputError(f"--split {text}: no train range; name one, such as train=0-{depth - 1}")
    _refuse_overlap(splits)
    return splits


def default_splits(depth: int) -> dict[str, ZRange]:
    """Seven tenths for training, then validation and test in equal parts, in order of z.

    A volume of fewer than three slices is for training alone.
    """
    if depth < 3:
        return {"train": (0, depth - 1)}
    held_out = max(1, round(depth * 0.15))
    val = depth - 2 * held_out
    return {
        "train": (0, val - 1),
        "val": (val, val + held_out - 1),
        "test": (val + held_out, depth - 1),
    }


def _refuse_overlap(splits: Mapping[str, ZRange]) -> None:
    ordered = sorted(splits.items(), key=lambda item: item[1])
    for (name_a, range_a), (name_b, range_b) in pairwise(ordered):
        if range_b[0] <= range_a[1]:
            raise InputError(
                f"--split: {name_a}={range_a[0]}-{range_a[1]} and {name_b}={range_b[0]}-"
                f"{range_b[1]} overlap; a slice belongs to one split"
            )
