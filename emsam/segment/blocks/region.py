"""Which part of a volume is segmented, as it is typed."""

from __future__ import annotations

import re

from emsam.errors import InputError

_SPAN = re.compile(r"(\d*):(\d*)")


def parse_region(
    roi: str, slices: str, shape: tuple[int, int, int]
) -> tuple[tuple[int, ...], tuple[int, int, int, int]]:
    """z of the slices, and y0, y1, x0, x1.

    Parameters
    ----------
    roi
        ``z0:z1,y0:y1,x0:x1``, ends excluded as in Python; a side may be left out. Empty: all.
    slices
        Such as ``0,5,10-19``, both ends included; empty: all of ``roi``.

    Raises
    ------
    InputError
        Something else, or what lies outside of the volume.
    """
    spans = [(0, side) for side in shape]
    if roi:
        parts = roi.split(",")
        if len(parts) != 3:
            raise InputError(f"--roi {roi}: three ranges are needed, such as 0:10,512:1024,:")
        spans = [
            _span(roi, part, axis, side)
            for part, axis, side in zip(parts, "zyx", shape, strict=True)
        ]
    (z0, z1), (y0, y1), (x0, x1) = spans
    chosen = tuple(range(z0, z1))
    if slices:
        asked = _slices(slices, shape[0])
        chosen = tuple(z for z in chosen if z in asked)
        if not chosen:
            raise InputError(f"--z {slices}: no such slice in {z0}:{z1}; change --z or --roi")
    return chosen, (y0, y1, x0, x1)


def _span(roi: str, part: str, axis: str, side: int) -> tuple[int, int]:
    match = _SPAN.fullmatch(part.strip())
    if match is None:
        raise InputError(f"--roi {roi}: {part} is no range; write it as 512:1024")
    first, end = int(match[1] or 0), int(match[2] or side)
    if not first < end <= side:
        raise InputError(f"--roi {roi}: {axis} goes from 0 to {side}, not {first}:{end}")
    return first, end


def _slices(text: str, depth: int) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise InputError(f"--z {text}: {part} is no slice; write it as 0,5,10-19")
        low, high = int(first), int(last or first)
        if not low <= high < depth:
            raise InputError(f"--z {text}: slices go from 0 to {depth - 1}, not {part}")
        found |= set(range(low, high + 1))
    return found
