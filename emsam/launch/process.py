"""Bring a job to its end in a process of its own, whatever happens to it."""

from __future__ import annotations

import signal
from typing import Any

from emsam.errors import InputError, TrainingFailed, TrainingStopped
from emsam.launch.signals import sigterm_as_interrupt
from emsam.launch.trainer import Trainer, watch_other
from emsam.launch.watchdog import Watch, Watchdog
from emsam.settings import Settings
from emsam.train.run_directory import FAILED, STOPPED, RunDirectory
from emsam.train.stop import EXIT_BAD_INPUT, EXIT_FAILED, EXIT_HELD, EXIT_STOPPED


def run_training(run: RunDirectory, settings: Settings, watch: Watch | None = None) -> None:
    """Bring the job in ``run`` to its end in a process of its own.

    A job that is done is left alone. One that another process is training is watched to its
    end instead of started twice. SIGINT or SIGTERM here stops the trainer, which saves first;
    so do the deadline and the limit on its heartbeat.

    Raises
    ------
    TrainingStopped
        The trainer stopped at a checkpoint.
    TrainingFailed
        It failed, or had to be killed; the message says why.
    """
    if run.is_done():
        return
    watchdog = Watchdog(run, settings, watch)
    with sigterm_as_interrupt():
        while (code := Trainer(run, settings).run(watchdog)) == EXIT_HELD:
            watch_other(run, settings, watchdog)
            if run.is_done():
                return
            if watchdog.reason:
                code = EXIT_STOPPED if run.status()["state"] == STOPPED else EXIT_FAILED
                break
    _settle(run, code, watchdog.reason)


def _settle(run: RunDirectory, code: int, reason: str) -> None:
    """Write what the trainer could not say itself, and raise what its exit status means."""
    if code == EXIT_STOPPED or code in (-signal.SIGTERM, -signal.SIGINT):
        # by a bare signal it ends only where nothing was trained yet
        _correct(run, STOPPED)
        why = f" ({reason})" if reason else ""
        raise TrainingStopped(f"{run.path}: stopped at step {run.status()['step']}{why}; {_GO_ON}")
    if code == EXIT_BAD_INPUT:
        raise InputError(_cause(run, code, reason).removeprefix("emsam: "))
    if code != 0:
        cause = _cause(run, code, reason)
        _correct(run, FAILED, error=cause)
        raise TrainingFailed(
            f"{run.path}: training failed ({cause}); see {run.log_file}; {_where_to_go_on(run)}"
        )


_GO_ON = "run the same command again to go on from there"


def _where_to_go_on(run: RunDirectory) -> str:
    checkpoint = run.newest_checkpoint()
    if checkpoint is None:
        return "the same command begins anew"
    step = int(checkpoint.name.removeprefix("step-"))
    return f"the same command goes on from step {step}"


def _correct(run: RunDirectory, state: str, **more: Any) -> None:
    if run.status()["state"] != state or more:
        run.update_status(state=state, **more)


def _cause(run: RunDirectory, code: int, reason: str) -> str:
    if code < 0:
        killed = f"killed by {signal.Signals(-code).name}"
        return f"{reason}; {killed}" if reason else killed
    said = run.status()
    if said["state"] == FAILED and said.get("error"):
        return " ".join(str(said["error"]).split())
    return _last_line(run) or f"exit status {code}"


def _last_line(run: RunDirectory) -> str:
    lines = run.log_file.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""
