"""The training process: started with its output in a file, ended in two steps, or watched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil

from emsam.launch.watchdog import Watchdog
from emsam.processes import find_process
from emsam.settings import Settings
from emsam.train.run_directory import ACTIVE, DONE, FAILED, STOPPED, RunDirectory
from emsam.train.stop import EXIT_STOPPED

POLL = 0.25
_KILLED_IN = 60.0
"""Seconds that a process which was sent SIGKILL may take to be gone."""


class Trainer:
    """``python -m emsam.train RUN``, in the process group of its caller.

    A signal to that group, as Prefect and a terminal send it, therefore reaches it. Its output goes
    to a file: it would keep a pipe open that outlives the caller.
    """

    def __init__(self, run: RunDirectory, settings: Settings) -> None:
        self._run, self._settings = run, settings

    def run(self, watchdog: Watchdog) -> int:
        """Start it and wait; returns its exit status, negative where a signal ended it."""
        with self._run.log_file.open("ab") as log:
            process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
            )
        try:
            watchdog.reset()
            while (code := process.poll()) is None:
                if watchdog.look():
                    return self._reached(process, self._end(process))
                time.sleep(POLL)
            watchdog.report()
            return self._reached(process, code)
        except BaseException:
            if self._reached(process, self._end(process)) == -signal.SIGKILL:
                self._run.update_status(state=FAILED, error="it did not stop in time; killed")
            raise

    def _command(self) -> list[str]:
        settings = self._settings
        options = {
            "--slots": settings.slots_root.absolute(),
            "--cpu-slots": settings.cpu_slots,
            "--devices": settings.devices,
            "--shutdown": max(1, int(0.75 * settings.grace_seconds)),
        }
        words = [str(word) for option in options.items() for word in option]
        return [sys.executable, "-m", "emsam.train", str(self._run.path), *words]

    def _reached(self, process: subprocess.Popen[bytes], code: int) -> int:
        """Its exit status; one that was killed on its way out had said already how far it came."""
        status = self._run.status()
        if code < 0 and status.get("pid") == process.pid:
            return {DONE: 0, STOPPED: EXIT_STOPPED}.get(status["state"], code)
        return code

    def _end(self, process: subprocess.Popen[bytes]) -> int:
        """SIGTERM, then SIGKILL once the grace period is over; returns the exit status."""
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(self._settings.grace_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()


def watch_other(run: RunDirectory, settings: Settings, watchdog: Watchdog) -> None:
    """Wait until whoever holds the run lets go of it; one that hangs is ended.

    A trainer whose launcher is gone is adopted: it is stopped when this process is.
    """
    watchdog.reset()
    try:
        while True:
            if watchdog.look():
                end_recorded(run, settings.grace_seconds)
            with run.lock() as free:
                if free:
                    return
            time.sleep(POLL)
    except BaseException:
        if find_process(run.status().get("launcher", {})) is None:
            end_recorded(run, settings.grace_seconds)
        raise


def end_recorded(run: RunDirectory, grace: float) -> None:
    """SIGTERM, then SIGKILL, to the process that a run's status names and to no other."""
    status = run.status()
    if process := find_process(status):
        _send(process, signal.SIGTERM)
        if not _is_gone(status, grace):
            _send(process, signal.SIGKILL)
            _is_gone(status, _KILLED_IN)
    after = run.status()
    if after["state"] in ACTIVE and after.get("pid") == status.get("pid"):
        run.update_status(state=FAILED, error="it did not stop in time; killed")


def _send(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def _is_gone(status: dict[str, object], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while find_process(status):
        if time.monotonic() > end:
            return False
        time.sleep(POLL)
    return True
