"""Bring a job to its end in a process of its own, whatever happens to it."""

from __future__ import annotations

from emsam.launch.outcome import settle
from emsam.launch.signals import sigterm_as_interrupt
from emsam.launch.trainer import Trainer, watch_other
from emsam.launch.watchdog import Watch, Watchdog
from emsam.settings import Settings
from emsam.train.run_directory import STOPPED, RunDirectory
from emsam.train.stop import EXIT_FAILED, EXIT_HELD, EXIT_STOPPED


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
    settle(run, code, watchdog.reason)
