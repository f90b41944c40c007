"""Pixels and their partners at an offset."""

from __future__ import annotations

from collections.abc import Sequence
from types import EllipsisType

Window = tuple[EllipsisType | slice, ...]


def partner_windows(shape: Sequence[int], offset: tuple[int, int]) -> tuple[Window, Window]:
    """Index of all pixels that have a partner ``offset`` (y, x) away, and of the partners.

    Both index the last two axes of an array or tensor, whose lengths end ``shape``.
    """
    here: list[EllipsisType | slice] = [...]
    there: list[EllipsisType | slice] = [...]
    for side, step in zip(shape[-2:], offset, strict=True):
        here.append(slice(max(0, -step), max(0, side - max(0, step))))
        there.append(slice(max(0, step), max(0, side + min(0, step))))
    return tuple(here), tuple(there)
