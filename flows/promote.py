"""Register a run's model and make it champion if it deserves it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from prefect import flow, get_run_logger

from emsam.data.digest import folder_digest
from emsam.data.store import Volume
from emsam.registry.gate import decide
from emsam.registry.models import register_run
from emsam.registry.promotion import apply_decision
from emsam.settings import Settings
from emsam.train.run_directory import RunDirectory


@flow(name="promote", flow_run_name="promote on {data} {split}")
def promote(run: str, data: str, split: Literal["val", "test"] = "test") -> dict[str, Any]:
    """Compare with the champion on the same slices; the better one is champion afterwards.

    Args:
        run: Run directory, such as `runs/first`; relative to the worker's folder.
        data: Name of the volume on which the two are compared.
        split: Slices that decide: `val` or `test`.

    Returns:
        `model` (`NAME/VERSION`), `verdict` and `reason`.
    """
    settings = Settings()
    volume = Volume(settings.volume_path(data))
    candidate = register_run(RunDirectory(Path(run)), settings)
    decision = decide(candidate, volume, folder_digest(volume.path), split, settings)
    apply_decision(decision, settings)
    get_run_logger().info("%s: %s, %s", decision.verdict, decision.candidate, decision.reason)
    return {
        "model": decision.candidate,
        "verdict": decision.verdict,
        "reason": decision.reason,
    }
