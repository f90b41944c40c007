"""Fine-tune a model on a published data set."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect import flow, get_run_logger

from emsam.launch.jobs import seconds_left
from emsam.launch.launcher import launch
from emsam.params import Params
from emsam.processes import identify
from emsam.registry.mirror import Mirror
from emsam.settings import Settings
from emsam.train.prepare import prepare_run
from emsam.train.run_directory import STOPPED, WAITING, RunDirectory
from emsam.train.slots import slot_names, uses_gpu
from flows.slots import has_server, host_slots

REPORT_EVERY = 5.0
"""Seconds between two lines of the flow's log."""


@flow(name="fine-tune", flow_run_name="fine-tune {params.model.name} on {params.data.name}")
def fine_tune(params: Params, version: str | None = None) -> str:
    """Train in a process of its own and mirror the run into MLflow; returns the run directory.

    The same parameters and data find the same run: one that is done is kept, one that was
    stopped goes on from its newest checkpoint. It waits for a slot of this host.

    Parameters
    ----------
    version
        Digest that the volume must have, if it was published.
    """
    log = get_run_logger()
    settings = Settings()
    run = prepare_run(params, settings, version=version)
    with Mirror(run, settings, log.warning):
        if run.is_done():
            log.info("%s is trained already, at commit %s", run.path, run.inputs()["git"]["commit"])
        else:
            with _slots(run, settings, log):
                log.info("training in %s", run.path)
                launch(run, settings, _Reporter(log))
            log.info("%s is done at step %s", run.path, run.status()["step"])
    return str(run.path)


@contextmanager
def _slots(run: RunDirectory, settings: Settings, log: Any) -> Iterator[None]:
    """Queue for this host's devices, in sight of 'emsam jobs'."""
    if settings.launcher != "process" or not has_server():
        yield
        return
    budget = run.params().train
    report = _Queued(run, log)
    kind = "gpu" if uses_gpu(budget) else "cpu"
    total = len(slot_names(budget, settings.cpu_slots))
    try:
        with host_slots(kind, total, settings.devices, report):
            report.end()
            yield
    finally:
        report.end()


class _Queued:
    """Says that a job waits; not where another process works for the run."""

    def __init__(self, run: RunDirectory, log: Any) -> None:
        self._run, self._log = run, log
        self._me = identify(os.getpid()) | {"host": socket.gethostname()}
        self._said = False

    def __call__(self, note: str) -> None:
        if not self._said:
            self._log.info("%s: %s", self._run.path, note)
        self._said = True
        with self._run.lock() as free:
            if free and not self._run.is_done():
                self._run.update_status(**self._me, state=WAITING, slots=[], note=note)

    def end(self) -> None:
        """The status must not go on to say that the flow waits."""
        status = self._run.status()
        if status["state"] == WAITING and status.get("pid") == self._me["pid"]:
            self._run.update_status(state=STOPPED, note=None)


class _Reporter:
    """Logs where training stands, now and then."""

    def __init__(self, log: Any) -> None:
        self._log, self._last = log, 0.0

    def __call__(self, status: dict[str, Any]) -> None:
        if time.monotonic() - self._last < REPORT_EVERY:
            return
        if status["state"] == WAITING:
            self._log.info("waiting: %s", status["note"])
        elif not status.get("metrics"):
            return
        else:
            self._log_step(status)
        self._last = time.monotonic()

    def _log_step(self, status: dict[str, Any]) -> None:
        loss, speed = status["metrics"]["train/loss"], status["steps_per_second"]
        self._log.info(
            "step %s  %3.0f %%  loss %.3f  %.1f steps/s  %.0f s left",
            status["step"], 100 * status["fraction"], loss, speed, seconds_left(status) or 0,
        )  # fmt: skip
