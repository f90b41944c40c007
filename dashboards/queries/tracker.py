"""Reaching MLflow: a client that gives up soon, and one error for all that can go wrong."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from emsam.registry.client import open_client
from emsam.settings import Settings

_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
"""MLflow's own defaults let a page wait four minutes for a server that is away."""


class TrackerUnreachable(Exception):
    """MLflow gives no answer; the message says where it was looked for and what to do."""


def tracker_address(settings: Settings) -> str:
    """Where MLflow is, without user and password."""
    uri = settings.tracking_uri
    parts = urlsplit(uri)
    return uri.replace(parts.netloc, parts.netloc.rpartition("@")[2]) if parts.netloc else uri


def is_unborn(settings: Settings) -> bool:
    """Whether the SQLite file is still to be made: a page that only reads leaves that to a run."""
    uri = settings.tracking_uri
    return uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists()


@contextmanager
def tracker(settings: Settings) -> Iterator[MlflowClient]:
    for name, value in _PATIENCE.items():
        os.environ.setdefault(name, value)
    try:
        yield open_client(settings)
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise TrackerUnreachable(
            f"MLflow does not answer at {tracker_address(settings)}. Start it, or set "
            "EMSAM_MLFLOW_URI to where it is, and reload this page."
        ) from error
