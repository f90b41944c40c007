"""Register a run's model and make it champion if it deserves it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from prefect import flow, get_run_logger

from emsam.data.store import Volume
from emsam.errors import NotPromoted
from emsam.params import GateParams
from emsam.registry.gate import decide
from emsam.registry.models import register_run
from emsam.registry.promotion import apply_decision
from emsam.settings import Settings
from emsam.train.run_directory import RunDirectory


@flow(name="promote", flow_run_name="promote on {data} {split}")
def promote(
    run: str, data: str, split: Literal["val", "test"] = "test", gate: GateParams | None = None
) -> dict[str, Any]:
    """Compare with the champion on the same slices; a better one is champion afterwards.

    Args:
        run: Run directory, such as `runs/first`; relative to the worker's folder.
        data: Name of the volume on which the two are compared.
        split: Slices that decide: `val` or `test`.
        gate: The rule; its defaults if it is left out.

    Returns:
        `model` (`NAME/VERSION`), `verdict` and `reason`; a decision that waits for a person's
        approval is no failure: `reason` says what to run.
    """
    settings = Settings()
    volume = Volume(settings.volume_path(data))
    candidate = register_run(RunDirectory(Path(run)), settings)
    decision = decide(candidate, [(volume, split)], settings, gate)
    reason = decision.reason
    try:
        apply_decision(decision, settings)
    except NotPromoted as why:
        reason = f"{reason}; {why}"
    get_run_logger().info("%s: %s, %s", decision.verdict, decision.candidate, reason)
    return {"model": decision.candidate, "verdict": decision.verdict, "reason": reason}
