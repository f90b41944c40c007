"""Scores as people read them."""

from __future__ import annotations


def number(value: float | None, absent: str = "-") -> str:
    """Four decimals; ``absent`` where there is no number."""
    return absent if value is None or value != value else f"{value:.4f}"


def interval(low: float | None, high: float | None, absent: str = "-") -> str:
    """``0.0512 to 0.0580``; ``absent`` where there is no interval."""
    ends = number(low, ""), number(high, "")
    return " to ".join(ends) if all(ends) else absent
