"""The main job: from a volume to a champion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow

from emsam.data.store import Volume
from emsam.interrupts import raise_if_interrupted
from emsam.params import Params
from emsam.registry.client import open_client
from emsam.registry.models import champion_of
from emsam.registry.tracking import find_run
from emsam.settings import Settings
from emsam.train.prepare import check_trainable
from emsam.train.run_directory import RunDirectory
from flows.evaluate import evaluate
from flows.fine_tune import fine_tune
from flows.promote import promote
from flows.publish_dataset import publish_dataset


@flow(name="pipeline", flow_run_name="{params.task} on {params.data.name}")
def pipeline(params: Params) -> dict[str, Any]:
    """Publish the data set, fine-tune, evaluate, log, register, promote.

    Each step finds what an earlier run of the same job has done already, so that the pipeline
    can be interrupted anywhere and run again.

    Args:
        params: The whole job; what is left out has the default that the form shows.

    Returns:
        What was reached and where each thing lies.
    """
    data, split = params.data.name, params.evaluate.split
    _check(params)
    version = publish_dataset(data, follow=False)
    raise_if_interrupted()
    run = fine_tune(params, version["digest"])
    raise_if_interrupted()
    means = evaluate(run, data, split)
    raise_if_interrupted()
    decision = promote(run, data, split, params.gate)
    return _report(params, version, run, means, decision)


def _check(params: Params) -> None:
    """Find before anything is done what would stop a later step."""
    volume = Volume(Settings().volume_path(params.data.name))
    volume.require_task(params.task)
    volume.slices(params.evaluate.split, params.task)
    check_trainable(volume, params)


def _report(
    params: Params,
    version: dict[str, str],
    run: str,
    means: list[dict[str, Any]],
    decision: dict[str, Any],
) -> dict[str, Any]:
    """What was reached and where each thing lies."""
    settings = Settings()
    client = open_client(settings)
    job = RunDirectory(Path(run))
    champion = champion_of(client, settings.model_name(params.task))
    return {
        "task": params.task,
        "data": params.data.name,
        "split": params.evaluate.split,
        "data_version": version["version"],
        "digest": version["digest"],
        "volume": str(settings.volume_path(params.data.name)),
        "run": run,
        "run_name": job.name,
        "figures": str(job.figures),
        "tracking_uri": settings.tracking_uri,
        "mlflow_run_id": find_run(client, job, settings),
        "means": means,
        **decision,
        "champion": f"{champion.name}/{champion.version}" if champion else None,
    }
