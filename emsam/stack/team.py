"""What a team's folder holds beside its data: settings, passwords, and what servers read."""

from __future__ import annotations

import configparser
import importlib.util
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from emsam.credentials import PERSON, make_secrets, secrets_file, write_secret
from emsam.errors import InputError
from emsam.settings import Settings
from emsam.stack import postgres, seaweed

WRITTEN = (
    "profile", "listen", "postgres_port", "s3_port", "prefect_port", "mlflow_port",
    "dashboard_port", "pools", "approval", "on_publish", "people",
)  # fmt: skip
"""Settings that the file names from the beginning."""
_HEADER = """\
# Settings of this team's stack, made by the first 'emsam up --profile team'. Every setting in
# docs/reference/settings.md can be written here, without EMSAM_ and in small letters; a variable
# of the environment wins. 'emsam down' before, 'emsam up' after a change.
"""
_MARK = "restoring"
_REMEMBER_SECONDS = 60
"""MLflow checks a password anew after so long; each check takes it 50 ms."""


def create(settings: Settings) -> None:
    """Make what is missing; nothing that is there is changed but what follows from settings.

    Raises
    ------
    InputError
        The folder holds one person's data, or something that a team needs is not installed.
    StackFailed
        PostgreSQL does not make its data folder.
    """
    _require_packages()
    _require_programs()
    _refuse_local_data(settings)
    _refuse_half(settings)
    _refuse_lost_passwords(settings)
    if not settings.team_file.exists():
        write_settings(settings)
    make_secrets(settings)
    postgres.create(settings)
    seaweed.create(settings)
    _write_mlflow_auth(settings)


def prepare(settings: Settings) -> None:
    """Databases and buckets, in servers that have just begun to answer."""
    postgres.prepare(settings)
    seaweed.prepare(settings)


def write_settings(settings: Settings) -> None:
    """The team's file, with what is set now."""
    write_file(settings, {name: getattr(settings, name) for name in WRITTEN})


def write_file(settings: Settings, values: dict[str, Any]) -> None:
    """The team's file, with these settings."""
    body = yaml.safe_dump(values | {"profile": "team"}, sort_keys=False)
    write_secret(settings.team_file, _HEADER + body)


@contextmanager
def unfinished(settings: Settings) -> Iterator[None]:
    """A folder that is not used if the block does not come to its end, however it dies."""
    mark = settings.home / _MARK
    mark.write_text(str(os.getpid()))
    yield
    mark.unlink()


def mlflow_auth_file(settings: Settings) -> Path:
    """Where MLflow's basic auth has its settings."""
    return (settings.home / "secrets" / "mlflow_auth.ini").absolute()


def _write_mlflow_auth(settings: Settings) -> None:
    """Without passwords: those come in the environment and in PostgreSQL's file."""
    config = configparser.ConfigParser(interpolation=None)
    config["mlflow"] = {
        "database_uri": settings.database_uri,
        "admin_username": PERSON,
        "default_permission": "READ",
        "authorization_function": "mlflow.server.auth:authenticate_request_basic_auth",
        "auth_cache_ttl_seconds": str(_REMEMBER_SECONDS),
    }
    text = io.StringIO()
    config.write(text)
    write_secret(mlflow_auth_file(settings), text.getvalue())


def _require_packages() -> None:
    for package in ("psycopg2", "asyncpg", "flask_wtf", "cryptography", "boto3"):
        if importlib.util.find_spec(package) is None:
            raise InputError(f"{package}: not installed, a team's stack needs it; "
                             "pip install -e '.[team]'")  # fmt: skip


def _require_programs() -> None:
    """What is missing is said before a folder becomes a team's."""
    postgres.binary("initdb")
    postgres.account()
    seaweed.binary()


def _refuse_lost_passwords(settings: Settings) -> None:
    """New ones would be of no use: the databases know the old."""
    file = secrets_file(settings)
    if not file.exists() and postgres.is_made(settings):
        raise InputError(
            f"{file}: is gone, and the databases here know its passwords; take it from a backup "
            f"(those of PostgreSQL are in {settings.password_file}, too)"
        )


def _refuse_half(settings: Settings) -> None:
    mark = settings.home / _MARK
    if mark.exists() and mark.read_text() != str(os.getpid()):
        raise InputError(
            f"{settings.home}: 'emsam restore' did not come to its end here; run 'emsam down', "
            "remove this folder and the runs beside it, and restore again"
        )


def _refuse_local_data(settings: Settings) -> None:
    for name in ("mlflow.db", "ledger.db"):
        if (settings.home / name).exists():
            raise InputError(
                f"{settings.home / name}: this folder holds the data of one person's stack, which "
                "a team's would not show; set EMSAM_HOME to another folder"
            )
