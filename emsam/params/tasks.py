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

BALANCE: dict[Task, bool] = {"neurites": False, "mitochondria": True}
"""Mitochondria are rare: a network is long unsure of any, unless they weigh more."""

THRESHOLD: dict[Task, float] = {"neurites": 0.8, "mitochondria": 0.7}
"""Where seeds begin: neurites touch, mitochondria seldom do."""

FOREGROUND: dict[Task, float] = {"neurites": 0.5, "mitochondria": 0.7}
"""A network for which rare pixels weigh more thinks objects larger than they are."""

MIN_CONFIDENCE: dict[Task, float] = {"neurites": 0.0, "mitochondria": 0.8}
"""Neurites fill the tissue and an unsure one is still one; a dark vesicle is no mitochondrion."""
