"""What is known of metric variants by their names alone."""

from __future__ import annotations

from emsam.params import Task

PRIMARY: dict[Task, str] = {"neurites": "arand_contest_2d", "mitochondria": "ap50_accuracy_2d"}
"""The metric that ranks models of a task."""
LOWER_IS_BETTER = frozenset(
    f"{metric}_{dims}"
    for metric in ("arand_contest", "voi_split", "voi_merge")
    for dims in ("2d", "3d")
)
