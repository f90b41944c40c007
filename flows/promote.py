"""Register a run's model and make it champion if it deserves it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger

from emsam.data.store import Volume
from emsam.params import GateParams
from emsam.registry.gate import decide
from emsam.registry.models import register_run
from emsam.registry.promotion import apply_decision
from emsam.settings import Settings
from emsam.train.run_directory import RunDirectory


@flow(name="promote", flow_run_name="promote on {data} {split}")
def promote(run: str, data: str, split: str, gate: GateParams | None = None) -> dict[str, Any]:
    """Compare with the champion on the same slices; a better one is champion afterwards.

    Returns
    -------
    dict
        ``model`` (``NAME/VERSION``), ``verdict`` and ``reason``.
    """
    settings = Settings()
    volume = Volume(settings.volume_path(data))
    candidate = register_run(RunDirectory(Path(run)), settings)
    decision = decide(candidate, [(volume, split)], settings, gate)
    apply_decision(decision, settings)
    get_run_logger().info("%s: %s, %s", decision.verdict, decision.candidate, decision.reason)
    return {
        "model": decision.candidate,
        "verdict": decision.verdict,
        "reason": decision.reason,
    }
