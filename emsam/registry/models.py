"""Registered model versions: packages in MLflow, named by ``NAME/VERSION`` or ``NAME@ALIAS``."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from emsam.data.digest import file_sha256
from emsam.errors import InputError
from emsam.locks import hold_lock
from emsam.model.package import load_network, package_digest
from emsam.params import TASKS, Params, dump_params
from emsam.registry.client import open_client
from emsam.registry.model_card import CARD, model_card
from emsam.registry.names import version_name
from emsam.registry.tracking import find_run
from emsam.registry.training_slices import TAG, training_tag
from emsam.settings import Settings
from emsam.train.run_directory import RunDirectory

if TYPE_CHECKING:  # a version is looked up without torch
    from torch import nn

CHAMPION, PREVIOUS = "champion", "previous"
ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""What MLflow answers where a model, a version or an alias is not there."""
LONGEST_DESCRIPTION = 5000
"""Characters that MLflow's database keeps."""
_REFERENCE = re.compile(r"(?P<name>[\w.-]+)(?:@(?P<alias>[\w-]+)|/(?P<version>\d+))")


def register_run(run: RunDirectory, settings: Settings) -> ModelVersion:
    """Package the checkpoint of a mirrored run that is judged, and register it.

    The same weights with the same post-processing are one version.

    Raises
    ------
    InputError
        The run has no whole checkpoint, was not mirrored into MLflow, or does not say on which
        slices it was trained.
    """
    client = open_client(settings)
    run_id = find_run(client, run, settings)
    if run_id is None:
        raise InputError(f"{run.path}: not in MLflow yet; run 'emsam registry sync {run.path}'")
    with hold_lock(run.path / ".register.lock"):  # else two could make a version each
        return _register(client, run, run_id, settings)


def _register(
    client: MlflowClient, run: RunDirectory, run_id: str, settings: Settings
) -> ModelVersion:
    checkpoint = run.judged_checkpoint()
    weights = checkpoint / "model.safetensors"
    digest = file_sha256(weights)
    params = run.model_params()
    identity = package_digest(digest, params)
    name = settings.model_name(params.task)
    inputs = run.inputs()
    learned = training_tag(inputs)
    if known := _only_version(client, name, run_id, identity):
        if TAG not in known.tags:  # registered before there was this tag
            client.set_model_version_tag(name, known.version, TAG, learned)
        return client.get_model_version(name, known.version)
    folder = f"model-{identity[:12]}"
    with tempfile.TemporaryDirectory() as temporary:
        package = Path(temporary) / folder
        _write_package(package, weights, params)
        card = model_card(run, params, digest)
        (package / CARD).write_text(card)
        client.log_artifacts(run_id, str(package), folder)
    _ensure_name(client, name)
    made = client.create_model_version(
        name,
        source=f"runs:/{run_id}/{folder}",
        run_id=run_id,
        description=card[:LONGEST_DESCRIPTION],
        tags={
            "emsam.weights_sha256": digest,
            "emsam.params_sha256": hashlib.sha256(dump_params(params).encode()).hexdigest(),
            "emsam.package": identity,
            "emsam.run": run.name,
            "emsam.data_digest": inputs["data"][0]["digest"],
            TAG: learned,
            "emsam.git_commit": inputs["git"]["commit"] or "",
        },
    )
    return _only_version(client, name, run_id, identity) or made


def _only_version(
    client: MlflowClient, name: str, run_id: str, identity: str
) -> ModelVersion | None:
    """The first version of a package; others of the same go.

    A request whose answer was lost, as when the server is killed, is sent again by MLflow's client,
    which makes two of them. Only the first is ever judged.
    """
    found = client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
    same = [each for each in found if each.tags.get("emsam.package") == identity]
    same.sort(key=lambda each: int(each.version))
    for each in same[1:]:
        if "emsam.decision_sha256" not in each.tags:
            client.delete_model_version(name, each.version)
    return same[0] if same else None


def find_version(reference: str, settings: Settings) -> ModelVersion:
    """The model version that ``NAME@champion`` or ``NAME/3`` means, or ``champion`` alone.

    Raises
    ------
    InputError
        Not such a name, nothing of that name, or champions of several tasks.
    """
    if reference == CHAMPION:
        return _only_champion(settings)
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise InputError(
            f"{reference}: no run directory and no model; name a run directory, NAME@champion, "
            "NAME/VERSION or champion"
        )
    client = open_client(settings)
    try:
        if match["alias"]:
            return client.get_model_version_by_alias(match["name"], match["alias"])
        return client.get_model_version(match["name"], match["version"])
    except MlflowException as error:
        if error.error_code not in ABSENT:
            raise
        names = ", ".join(settings.model_name(task) for task in TASKS)
        raise InputError(
            f"{reference}: no such model in {settings.tracking_uri} (models are called {names}); "
            "see 'emsam registry log NAME'"
        ) from None


def _only_champion(settings: Settings) -> ModelVersion:
    """The champion of the task that has one."""
    client = open_client(settings)
    names = [settings.model_name(task) for task in TASKS]
    champions = [found for name in names if (found := champion_of(client, name)) is not None]
    if len(champions) == 1:
        return champions[0]
    if champions:
        choice = " or ".join(f"{each.name}@{CHAMPION}" for each in champions)
        raise InputError(f"champion: several tasks have one; name {choice}")
    raise InputError(
        f"champion: no task has one in {settings.tracking_uri} (models are called "
        f"{', '.join(names)}); promote one first with 'emsam promote', or name a run directory"
    )


def list_versions(name: str, settings: Settings) -> list[dict[str, Any]]:
    """Versions of a model, the newest first, with aliases and the decision behind each.

    Raises
    ------
    InputError
        No model of that name.
    """
    client = open_client(settings)
    try:
        aliases = client.get_registered_model(name).aliases
    except MlflowException as error:
        if error.error_code not in ABSENT:
            raise
        raise InputError(no_such_model(name, settings)) from None
    found = client.search_model_versions(f"name = '{name}'", order_by=["version_number DESC"])
    return [_describe(version, aliases) for version in found]


def no_such_model(name: str, settings: Settings) -> str:
    """Says so, and what there may be."""
    names = ", ".join(settings.model_name(task) for task in TASKS)
    return f"{name}: no such model in {settings.tracking_uri}; models are called {names}"


def _describe(found: ModelVersion, aliases: dict[str, str]) -> dict[str, Any]:
    decision = json.loads(found.tags.get("emsam.decision", "{}"))
    return {
        "version": int(found.version),
        # a search leaves a version's own aliases empty; the model's are right
        "aliases": sorted(a for a, number in aliases.items() if int(number) == int(found.version)),
        "run": found.tags.get("emsam.run", ""),
        "run_id": found.run_id,
        "package": str(found.source).split("/", 2)[2],
        "created": found.creation_timestamp,
        "data_digest": found.tags.get("emsam.data_digest", ""),
        "weights_sha256": found.tags.get("emsam.weights_sha256", ""),
        "git_commit": found.tags.get("emsam.git_commit", ""),
        "reason": decision.get("reason", ""),
        "decision": decision,
    }


def champion_of(client: MlflowClient, name: str) -> ModelVersion | None:
    """The version with the alias ``champion``; ``None`` if there is no model or no champion."""
    try:
        version = client.get_registered_model(name).aliases.get(CHAMPION)
    except MlflowException as error:
        if error.error_code not in ABSENT:
            raise
        return None
    return client.get_model_version(name, version) if version else None


def open_model(reference: str, settings: Settings) -> tuple[nn.Module, Params]:
    """Network and parameters of a run directory or of what :func:`find_version` takes.

    Raises
    ------
    InputError
        Nothing of that name, or files that are not what was registered.
    """
    run = RunDirectory(Path(reference))
    if run.exists():
        checkpoint = run.judged_checkpoint()
        network, _ = load_network(checkpoint / "model.safetensors", checkpoint / "params.yaml")
        return network, run.model_params()
    with tempfile.TemporaryDirectory() as folder:
        found = find_version(reference, settings)
        return load_network(*fetch_package(found, settings, Path(folder)))


def fetch_package(found: ModelVersion, settings: Settings, folder: Path) -> tuple[Path, Path]:
    """Download a version's package below ``folder``: weights and ``params.yaml``.

    Raises
    ------
    InputError
        The package is gone, or not what was registered.
    """
    client = open_client(settings)
    who, path = version_name(found), str(found.source).split("/", 2)[2]
    try:
        package = Path(client.download_artifacts(str(found.run_id), path, str(folder)))
        weights, params = (package / "artifacts" / n for n in ("model.safetensors", "params.yaml"))
        seen = {"weights": file_sha256(weights), "params": file_sha256(params)}
    except (OSError, MlflowException):
        raise InputError(
            f"{who}: its package {path} is not in the artifact store; restore it, or roll back to "
            "another version"
        ) from None
    for what, sha256 in seen.items():
        expected = found.tags.get(f"emsam.{what}_sha256")
        if expected is None and what == "params":
            continue  # registered before parameters had a digest
        if expected != sha256:
            raise InputError(
                f"{who}: {what} do not have the registered sha256 {expected}; somebody changed "
                "the artifact store, roll back to another version"
            )
    return weights, params


def _write_package(package: Path, weights: Path, params: Params) -> None:
    from mlflow.models import ModelSignature
    from mlflow.pyfunc import save_model
    from mlflow.types import Schema, TensorSpec

    grey = TensorSpec(np.dtype(np.uint8), (-1, -1))
    ids = TensorSpec(np.dtype(np.int32), (-1, -1))
    params_file, digests = (package.with_name(n) for n in ("params.yaml", "sha256.json"))
    params_file.write_text(dump_params(params))
    files = {"weights": weights, "params": params_file}
    digests.write_text(json.dumps({key: file_sha256(path) for key, path in files.items()}))
    save_model(
        package,
        python_model=str(Path(__file__).with_name("pyfunc_model.py")),
        artifacts={key: str(path) for key, path in (files | {"sha256": digests}).items()},
        signature=ModelSignature(Schema([grey]), Schema([ids])),
        input_example=np.full((64, 64), 128, np.uint8),
        pip_requirements=[f"emsam=={version('emsam')}"],
    )


def _ensure_name(client: MlflowClient, name: str) -> None:
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
