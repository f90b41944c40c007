"""Looks at a run's status: reports what changed, and says when enough is enough."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from emsam.settings import Settings
from emsam.train.run_directory import RUNNING, RunDirectory

Watch = Callable[[dict[str, Any]], None]
"""Called with the status whenever it changed."""

_START = 300.0
"""Seconds that a start may at least take: imports, weights."""


class Watchdog:
    """Deadline and heartbeat of one job.

    Time is this process's own since it saw a change: clocks of hosts differ, and jump.
    """

    def __init__(self, run: RunDirectory, settings: Settings, watch: Watch | None = None) -> None:
        self._run, self._settings, self._watch = run, settings, watch
        self.reason = ""
        """Why the trainer has to end; empty as long as it may go on."""
        self.reset()

    def reset(self) -> None:
        """Begin anew, with another process."""
        self.reason = ""
        self._seen: Any = None
        self._changed = time.monotonic()
        self._trains_since: float | None = None

    def report(self) -> dict[str, Any]:
        """Report the status if it changed; returns it."""
        status = self._run.status()
        if status.get("heartbeat") not in (None, self._seen):
            self._seen, self._changed = status["heartbeat"], time.monotonic()
            if self._watch:
                self._watch(status)
        return status

    def look(self) -> bool:
        """Report a changed status; whether the trainer has to end."""
        status, now = self.report(), time.monotonic()
        trains = status["state"] == RUNNING
        if trains and self._trains_since is None:
            self._trains_since = now
        limit = self._settings.heartbeat_seconds
        if now - self._changed > (limit if trains else max(limit, _START)):
            self.reason = f"no heartbeat for {limit:g} s"
        elif self._is_late(now):
            self.reason = f"its deadline of {self._settings.deadline_minutes:g} minutes"
        return bool(self.reason)

    def _is_late(self, now: float) -> bool:
        minutes = self._settings.deadline_minutes
        if minutes is None or self._trains_since is None:
            return False
        return now - self._trains_since > 60 * minutes
