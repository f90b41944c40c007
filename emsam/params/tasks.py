"""The tasks, and what a network predicts for each."""

from __future__ import annotations

from typing import Literal

Task = Literal["neurites", "mitochondria"]
TASKS: tuple[Task, ...] = ("neurites", "mitochondria")

Channel = Literal["foreground", "boundary", "affinities", "distance", "centre"]
CHANNELS: dict[Task, tuple[Channel, ...]] = {
    "neurites": ("foreground", "affinities"),
    "mitochondria": ("foreground", "affinities", "distance"),
}
"""What a network predicts where nothing else is asked for."""
