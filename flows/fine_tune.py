"""Fine-tune a model on a published data set."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

from prefect import flow, get_run_logger

from emsam.launch.process import run_training
from emsam.params import Params
from emsam.registry.tracking import sync_run
from emsam.settings import Settings
from emsam.train.prepare import prepare_run

REPORT_EVERY = 5.0
"""Seconds between two lines of the flow's log."""


@flow(name="fine-tune", flow_run_name="fine-tune {params.model.name} on {params.data.name}")
def fine_tune(params: Params, version: str | None = None) -> str:
    """Train in a process of its own and mirror the run into MLflow; returns the run directory.

    The same parameters and data find the same run: one that is done is kept, one that was
    stopped goes on from its newest checkpoint.

    Parameters
    ----------
    version
        Digest that the volume must have, if it was published.
    """
    log = get_run_logger()
    settings = Settings()
    run = prepare_run(params, settings, version=version)
    if run.is_done():
        log.info("%s is trained already, at commit %s", run.path, run.inputs()["git"]["commit"])
    else:
        log.info("training in %s", run.path)
    try:
        run_training(run, _Reporter(log))
    except BaseException:
        with suppress(Exception):  # what ended the training matters more
            sync_run(run, settings)
        raise
    sync_run(run, settings)
    log.info("%s is done at step %s", run.path, run.status()["step"])
    return str(run.path)


class _Reporter:
    """Logs where training stands, now and then."""

    def __init__(self, log: Any) -> None:
        self._log, self._last = log, 0.0

    def __call__(self, status: dict[str, Any]) -> None:
        if time.monotonic() - self._last < REPORT_EVERY or not status.get("metrics"):
            return
        self._last = time.monotonic()
        loss, speed = status["metrics"]["train/loss"], status["steps_per_second"]
        used = status["fraction"]
        left = status["seconds"] * (1 - used) / used if used else 0
        self._log.info(
            "step %s  %3.0f %%  loss %.3f  %.1f steps/s  %.0f s left",
            status["step"], 100 * used, loss, speed, left,
        )  # fmt: skip
