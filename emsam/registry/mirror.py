"""MLflow follows a run while it is trained, from a thread that no tracker can stop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from emsam.registry.tracking import sync_progress, sync_run
from emsam.settings import Settings
from emsam.train.run_directory import RunDirectory

_PATIENCE = 5.0
"""Seconds for a sync that is under way when the context is left by an error."""


class Mirror:
    """Syncs a run every ``settings.sync_seconds`` while the context is open, and at its end.

    A tracker that is away costs nothing but a message: the next sync goes on from the remembered
    offset, this one's, that of a later call, or 'emsam registry sync'.

    Parameters
    ----------
    say
        Told once when the tracker goes and once when it is back.
    """

    def __init__(self, run: RunDirectory, settings: Settings, say: Callable[[str], Any]) -> None:
        self._run, self._settings, self._say = run, settings, say
        self._away = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="mirror", daemon=True)

    def __enter__(self) -> Mirror:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        # who was stopped does not wait for a tracker that is away or does not answer
        self._thread.join(None if error is None else _PATIENCE)
        if error is None or not (self._away or self._thread.is_alive()):
            self._try(sync_run)

    def _follow(self) -> None:
        while not self._over.wait(self._settings.sync_seconds):
            self._try(sync_progress)

    def _try(self, sync: Callable[[RunDirectory, Settings], str]) -> None:
        try:
            sync(self._run, self._settings)
        except Exception as error:
            if not self._away:
                reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
                self._say(
                    f"MLflow ({self._settings.tracking_uri}) cannot be reached: {reason}; what it "
                    f"misses stays in {self._run.path} and comes later"
                )
            self._away = True
        else:
            if self._away:
                self._say("MLflow is back and has what it missed")
            self._away = False
