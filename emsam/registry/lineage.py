"""Which runs and models came from a data set version."""

from __future__ import annotations

import json
from typing import Any

from emsam.params import TASKS
from emsam.registry.client import experiment_id, open_client
from emsam.settings import Settings

_MANY = 50_000


def users_of(digest: str, settings: Settings) -> list[dict[str, Any]]:
    """Run directories here, MLflow runs and model versions that were trained on a version.

    Parameters
    ----------
    digest
        Of the data set version, or its first digits.

    Returns
    -------
    list of dict
        ``kind`` (run directory, MLflow run, model), ``name``, ``where`` it is found and the
        whole ``digest``.
    """
    return [*_run_directories(digest, settings), *_tracked(digest, settings)]


def _run_directories(digest: str, settings: Settings) -> list[dict[str, Any]]:
    found = []
    for file in sorted(settings.runs_root.glob("*/inputs.json")):
        for data in json.loads(file.read_text())["data"]:
            if data["digest"].startswith(digest):
                found.append(_user("run directory", file.parent.name, file.parent, data["digest"]))
    return found


def _tracked(digest: str, settings: Settings) -> list[dict[str, Any]]:
    client = open_client(settings)
    same = f"tags.`emsam.data_digest` LIKE '{digest}%'"
    found = [
        _user("MLflow run", run.info.run_name, run.info.run_id, run.data.tags["emsam.data_digest"])
        for run in client.search_runs([experiment_id(client, settings)], same, max_results=_MANY)
    ]
    for task in TASKS:
        name = settings.model_name(task)
        for version in client.search_model_versions(f"name = '{name}'"):
            known = version.tags.get("emsam.data_digest", "")
            if known.startswith(digest):
                where = f"run {version.tags.get('emsam.run', version.run_id)}"
                found.append(_user("model", f"{name}/{version.version}", where, known))
    return found


def _user(kind: str, name: object, where: object, digest: str) -> dict[str, Any]:
    return {"kind": kind, "name": str(name), "where": str(where), "digest": digest}
