"""How this project reaches MLflow: with a client and explicit run ids, never the fluent API."""

from __future__ import annotations

import os
from urllib.parse import unquote, urlsplit

from mlflow import MlflowClient
from mlflow.entities import Experiment
from mlflow.exceptions import MlflowException

from emsam.credentials import mlflow_client_environment
from emsam.quiet import QUIET_ENVIRONMENT
from emsam.registry.tracking_database import make_tracking_database
from emsam.settings import Settings


def open_client(settings: Settings) -> MlflowClient:
    """A client of the tracking server, or of the SQLite file in the home folder."""
    for name, value in (QUIET_ENVIRONMENT | mlflow_client_environment(settings)).items():
        os.environ.setdefault(name, value)
    _log_in(settings.mlflow_uri)
    # MLflow's own seven would keep a caller waiting for four minutes at a dead server
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    if not settings.mlflow_uri and not settings.is_team:
        make_tracking_database(settings.mlflow_file)
    return MlflowClient(tracking_uri=settings.tracking_uri, registry_uri=settings.tracking_uri)


def _log_in(address: str) -> None:
    """Give MLflow name and password of an address where it takes them: it quotes addresses."""
    parts = urlsplit(address)
    if parts.scheme in ("http", "https") and parts.username:
        os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(parts.username)
        os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(parts.password or "")


def experiment_id(client: MlflowClient, settings: Settings) -> str:
    """Id of the project's experiment, created on first use."""
    experiment: Experiment | None = client.get_experiment_by_name(settings.experiment)
    if experiment is not None:
        return str(experiment.experiment_id)
    served = bool(settings.mlflow_uri) or settings.is_team  # its server says where artifacts go
    root = None if served else settings.artifact_root
    try:
        return str(client.create_experiment(settings.experiment, artifact_location=root))
    except MlflowException as error:
        # another was quicker, or the answer was lost and MLflow's client asked again
        experiment = client.get_experiment_by_name(settings.experiment)
        if experiment is None or error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        return str(experiment.experiment_id)
