"""One training process: started with its output in a file, watched through its run directory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from emsam.errors import InputError, TrainingFailed, TrainingStopped
from emsam.train.__main__ import EXIT_BAD_INPUT, EXIT_HELD, EXIT_STOPPED
from emsam.train.run_directory import FAILED, RunDirectory

POLL = 0.25
GRACE = 30.0
"""Seconds that a trainer has for its step and its checkpoint after SIGTERM."""

Watch = Callable[[dict[str, Any]], None]
"""Called with the status whenever it changed."""


def run_training(run: RunDirectory, watch: Watch | None = None) -> None:
    """Bring the job in ``run`` to its end in a process of its own.

    A job that is done is left alone. One that another process is training is watched to its
    end instead of started twice. SIGINT or SIGTERM here stops the trainer, which saves first.

    Raises
    ------
    TrainingStopped
        The trainer stopped at a checkpoint.
    TrainingFailed
        It failed; the message quotes the end of ``train.log``.
    """
    if run.is_done():
        return
    with _sigterm_as_interrupt():
        while (code := _run_once(run, watch)) == EXIT_HELD:
            _watch_other(run, watch)
            if run.is_done():
                return
    if code == EXIT_STOPPED:
        raise TrainingStopped(
            f"{run.path}: stopped at step {run.status()['step']}; "
            "run the same command again to go on from there"
        )
    if code < 0:  # it could not say so itself
        run.write_status(**run.status() | {"state": FAILED, "error": _cause(run, code)})
    if code == EXIT_BAD_INPUT:
        raise InputError(_cause(run, code).removeprefix("emsam.errors.InputError: "))
    if code != 0:
        raise TrainingFailed(
            f"{run.path}: training failed ({_cause(run, code)}); see {run.log_file}"
        )


def _run_once(run: RunDirectory, watch: Watch | None) -> int:
    with run.log_file.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "emsam.train", str(run.path)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
    try:
        seen = None
        while (code := process.poll()) is None:
            seen = _report(run, watch, seen)
            time.sleep(POLL)
        _report(run, watch, seen)
        return code
    except BaseException:
        _end(process)
        raise


def _end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, then SIGKILL once the grace period is over."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _watch_other(run: RunDirectory, watch: Watch | None) -> None:
    """Wait until whoever holds the run lets go of it."""
    seen = None
    while True:
        seen = _report(run, watch, seen)
        with run.lock() as free:
            if free:
                return
        time.sleep(POLL)


def _report(run: RunDirectory, watch: Watch | None, seen: object) -> object:
    status = run.status()
    if watch and status.get("heartbeat") not in (None, seen):
        watch(status)
    return status.get("heartbeat")


def _cause(run: RunDirectory, code: int) -> str:
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    lines = run.log_file.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"exit status {code}"


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """SIGTERM interrupts as Ctrl-C does, unless somebody (Prefect) has a handler for it already."""
    free = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if not free or threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
