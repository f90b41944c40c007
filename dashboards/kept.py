"""Answers that take seconds: the last one is shown at once while a thread fetches the next."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from dashboards.queries.runs import list_runs
from emsam.settings import Settings

FRESH = 30.0
"""Seconds that an answer of MLflow is kept; what a user does here is shown at once.

The list of runs is shown longer than that, while a newer one is fetched."""
T = TypeVar("T")


@dataclass(frozen=True)
class _Answer(Generic[T]):
    content: T
    at: float


class Kept(Generic[T]):
    """A query's last answer for all who look; sessions and threads share it.

    Nobody may change what it returns.

    Parameters
    ----------
    query
        What is asked.
    fresh
        Seconds after which an answer is fetched anew, behind the back of who asks.
    patience
        Seconds that this waits, so that it takes no time from the page that has asked.
    """

    def __init__(self, query: Callable[[Settings], T], fresh: float, patience: float = 0.0) -> None:
        self._query, self._fresh, self._patience = query, fresh, patience
        self.forget()

    def forget(self) -> None:
        """Something was changed: who asks next waits for what is true then."""
        # an answer that is on its way is of before, and goes into what nobody reads any more
        self._answers: dict[str, _Answer[T]] = {}
        self._locks: dict[str, threading.Lock] = {}

    def get(self, settings: Settings) -> T:
        """The last answer. Who asks first waits for it, and is told what goes wrong."""
        key, answers = settings.model_dump_json(), self._answers
        if found := answers.get(key):
            if time.monotonic() - found.at > self._fresh:
                self._renew(key, settings)
            return found.content
        with self._lock(key):
            if found := answers.get(key):  # somebody else has waited
                return found.content
            answers[key] = _Answer(self._query(settings), time.monotonic())
            return answers[key].content

    def last(self, settings: Settings) -> T | None:
        """The last answer, however old; nothing is asked."""
        found = self._answers.get(settings.model_dump_json())
        return found.content if found else None

    def is_renewing(self, settings: Settings) -> bool:
        """Whether a newer answer is on its way."""
        return self._lock(settings.model_dump_json()).locked()

    def _renew(self, key: str, settings: Settings) -> None:
        lock, answers = self._lock(key), self._answers
        if not lock.acquire(blocking=False):
            return

        def renew() -> None:
            time.sleep(self._patience)
            try:
                answers[key] = _Answer(self._query(settings), time.monotonic())
            except Exception:
                answers.pop(key, None)  # who asks next is told what is wrong
            finally:
                lock.release()

        threading.Thread(target=renew, daemon=True).start()

    def _lock(self, key: str) -> threading.Lock:
        return self._locks.setdefault(key, threading.Lock())


RUNS = Kept(list_runs, FRESH, patience=2.0)
