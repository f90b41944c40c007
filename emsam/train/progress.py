"""Where a run stands, and how it says so: ``status.json`` and a line of the log."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from emsam.params import TrainParams
from emsam.train.run_directory import RUNNING, RunDirectory

HEARTBEAT = 1.0
"""Seconds between two writings of ``status.json``."""


@dataclass
class Progress:
    """Where a run stands; ``seconds`` counts the training of earlier processes too."""

    step: int = 0
    seconds: float = 0.0

    def fraction(self, budget: TrainParams) -> float:
        """Used part of the budget, in [0, 1]."""
        parts = []
        if budget.steps is not None:
            parts.append(self.step / budget.steps)
        if budget.minutes is not None:
            parts.append(self.seconds / (60 * budget.minutes))
        return min(1.0, max(parts))


class Clock:
    """Keeps ``status.json`` fresh and prints a line now and then.

    Parameters
    ----------
    leads
        ``False`` for the others of a team, who say nothing.
    """

    def __init__(
        self, run: RunDirectory, progress: Progress, budget: TrainParams, *, leads: bool
    ) -> None:
        self._run, self._progress, self._budget = run, progress, budget
        self._leads = leads
        self._first_step, self._started = progress.step, time.time()
        self._line: dict[str, Any] = {}
        self._last = 0.0
        self.write(RUNNING)

    def tick(self, line: dict[str, Any]) -> None:
        """A step is done; ``line`` is what was measured."""
        self._line |= line
        self.beat(now="val/" in "".join(line))

    def beat(self, *, now: bool = False) -> None:
        """Show that the process lives; a file is written once in :data:`HEARTBEAT` seconds."""
        if now or time.time() - self._last >= HEARTBEAT:
            self.write(RUNNING)

    def write(self, state: str) -> None:
        """Write the status and print it."""
        if not self._leads:
            return
        self._last = time.time()
        elapsed = self._last - self._started
        steps = self._progress.step - self._first_step
        self._run.update_status(
            state=state,
            started=self._started,
            step=self._progress.step,
            steps=self._budget.steps,
            fraction=round(self._progress.fraction(self._budget), 4),
            seconds=round(self._progress.seconds, 2),
            steps_per_second=round(steps / elapsed, 3) if elapsed > 0 else 0.0,
            metrics={key: value for key, value in self._line.items() if "/" in key},
        )
        loss = self._line.get("train/loss", float("nan"))
        print(f"{state} step {self._progress.step} loss {loss:.4f}", flush=True)
