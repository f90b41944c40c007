"""Score a run on the slices of a split."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from prefect import flow, get_run_logger

from emsam.data.digest import folder_digest
from emsam.data.store import Volume
from emsam.registry.looks import TEST, count_run_look
from emsam.registry.tracking import sync_run
from emsam.settings import Settings
from emsam.train.evaluation import evaluate_run
from emsam.train.run_directory import RunDirectory


@flow(name="evaluate", flow_run_name="evaluate on {data} {split}")
def evaluate(
    run: str, data: str, split: Literal["train", "val", "test"] = "test"
) -> list[dict[str, Any]]:
    """Score, draw and keep the masks of the checkpoint that is judged; log all of it to MLflow.

    Args:
        run: Run directory, such as `runs/first`; relative to the worker's folder.
        data: Name of the volume whose slices are scored.
        split: Slices: `train`, `val` or `test`.

    Returns:
        `metric`, `mean`, `low`, `high` of each metric variant.
    """
    settings = Settings()
    job = RunDirectory(Path(run))
    volume = Volume(settings.volume_path(data))
    if split == TEST:
        count_run_look(job, volume, folder_digest(volume.path), split, settings)
    entry = evaluate_run(job, volume, split)
    sync_run(job, settings)
    for mean in entry["means"]:
        get_run_logger().info("%s %s", mean["metric"], mean["mean"])
    return list(entry["means"])
