"""What ledger, aliases, Prefect, MLflow, run directories and data set versions say differently."""

from __future__ import annotations

import json
from pathlib import Path

from emsam import versioning
from emsam.errors import InputError, VersioningFailed
from emsam.launch.jobs import settle_killed
from emsam.registry.reconcile import Difference, reconcile_models
from emsam.registry.tracking import running_runs, sync_run
from emsam.settings import Settings
from emsam.stack.plan import prefect_api
from emsam.stack.runs import reconcile as reconcile_flow_runs
from emsam.train.run_directory import DONE, FAILED, STOPPED, RunDirectory


def find_differences(settings: Settings) -> list[Difference]:
    """Compare them all; what is safe to mend is mended. Again is harmless."""
    return [
        *reconcile_models(settings),
        *_mend_flow_runs(settings),
        *_mend_runs(settings),
        *_lost_data(settings),
    ]


def _mend_flow_runs(settings: Settings) -> list[Difference]:
    """Prefect takes a flow run for running whose process is gone from this host."""
    api = prefect_api(settings)
    if not api.is_well():
        return []  # nobody uses a server here, or it is away; the next look finds them
    return [Difference("flow run", name, what, True) for name, what in reconcile_flow_runs(api)]


def _mend_runs(settings: Settings) -> list[Difference]:
    """MLflow takes a run for RUNNING that has ended; it may have been killed."""
    found = []
    for name, folder, key in running_runs(settings):
        run = RunDirectory(_as_here(folder, settings))
        if not run.exists() or run.inputs()["id"] != key:
            what = f"RUNNING in MLflow; there is no run directory {folder} on this host"
            remedy = "if it is gone everywhere, end the run in MLflow"
            found.append(Difference("run", name, what, False, remedy))
            continue
        killed = settle_killed(run, settings)
        state = run.status()["state"]
        if state in (DONE, STOPPED, FAILED):
            sync_run(run, settings)
            why = "its process was killed" if killed else f"it is {state}"
            found.append(Difference("run", str(run.path), f"RUNNING in MLflow; {why}", True))
    return found


def _as_here(folder: Path, settings: Settings) -> Path:
    """A run directory that moved with the whole project is found by its name."""
    here = settings.runs_root / folder.name
    return folder if folder.exists() or not here.exists() else here


def _lost_data(settings: Settings) -> list[Difference]:
    """Run directories whose data is no published version, or none any more."""
    published: dict[str, set[str]] = {}
    found = []
    for file in sorted(settings.runs_root.glob("*/inputs.json")):
        for data in json.loads(file.read_text())["data"]:
            name, digest = data["name"], data["digest"]
            try:
                if name not in published:
                    published[name] = {each.digest for each in versioning.versions(name)}
            except (InputError, VersioningFailed):
                return []  # no git repository here, so there are no versions to speak of
            if digest not in published[name]:
                what = f"trained on {name} {digest}, which is no published version"
                remedy = f"emsam data publish {name}, if the volume still is that version"
                found.append(Difference("data", str(file.parent), what, False, remedy))
    return found
