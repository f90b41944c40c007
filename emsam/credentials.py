"""Passwords of a team's servers: one file of mode 600, and what each client takes from it.

They reach a process in its environment or in a file that nobody else can read; never on a command
line, in an address, in a log or in a document.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from emsam.documents import write_whole
from emsam.errors import InputError
from emsam.settings import Settings

SECRETS_FILE = "secrets.env"
PERSON = "emsam"
"""Who this folder's commands are, for MLflow, Prefect, PostgreSQL and S3."""
_ENTROPY = 24
_HEADER = """\
# Passwords of this team's servers, made by the first 'emsam up --profile team'. Whoever can read
# them can do everything. For other programs in a shell: set -a; . {file}; set +a
"""


class Secrets(BaseModel):
    """What the file holds, under the names that other programs look for where they have one."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    mlflow_tracking_username: SecretStr
    mlflow_tracking_password: SecretStr
    mlflow_flask_server_secret_key: SecretStr
    prefect_api_auth_string: SecretStr
    aws_access_key_id: SecretStr
    """A person's S3: data sets and volumes."""
    aws_secret_access_key: SecretStr
    artifacts_access_key_id: SecretStr
    """MLflow's S3."""
    artifacts_secret_access_key: SecretStr
    admin_access_key_id: SecretStr
    """All of S3; ``emsam up``, ``backup`` and ``restore`` alone."""
    admin_secret_access_key: SecretStr
    s3_signing_key: SecretStr
    """With which the parts of the S3 server know each other's requests."""
    postgres_password: SecretStr
    mlflow_database_password: SecretStr
    prefect_database_password: SecretStr
    ledger_database_password: SecretStr

    def value(self, name: str) -> str:
        """One of them, to be handed to a client or server."""
        return str(getattr(self, name).get_secret_value())


def secrets_file(settings: Settings) -> Path:
    return settings.home / SECRETS_FILE


def make_secrets(settings: Settings) -> None:
    """Write the file with new passwords, unless it is there."""
    file = secrets_file(settings)
    if file.exists():
        return
    values = {name: secrets.token_urlsafe(_ENTROPY) for name in Secrets.model_fields}
    values["mlflow_tracking_username"] = PERSON
    values["prefect_api_auth_string"] = f"{PERSON}:{values['prefect_api_auth_string']}"
    for name in ("aws", "artifacts", "admin"):
        values[f"{name}_access_key_id"] = f"{name}-{secrets.token_hex(8)}"
    lines = [f"{name.upper()}={value}" for name, value in values.items()]
    write_secret(file, _HEADER.format(file=file) + "\n".join(lines) + "\n")


def read_secrets(settings: Settings) -> Secrets:
    """The passwords of the team.

    Raises
    ------
    InputError
        There is no such file, others can read it, or it is not whole.
    """
    file = secrets_file(settings)
    try:
        mode = file.stat().st_mode & 0o777
        text = file.read_text()
    except FileNotFoundError:
        raise InputError(
            f"{file}: not there; run 'emsam up --profile team', or take it from a backup"
        ) from None
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}; ask whoever keeps this team's stack") from None
    if mode & 0o077:
        raise InputError(f"{file}: others may read it (mode {mode:o}); run 'chmod 600 {file}'")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    pairs = [line.partition("=") for line in lines]
    values = {key.strip().lower(): value for key, _, value in pairs}
    try:
        return Secrets.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = "_".join(map(str, first["loc"])).upper()
        raise InputError(f"{file}: {name}: {first['msg'].lower()}; take it from a backup") from None


def write_secret(file: Path, text: str) -> None:
    """Write a file whole that its owner alone can read."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, text, mode=0o600)


# -- what clients take --------------------------------------------------------------------------


def mlflow_client_environment(settings: Settings) -> dict[str, str]:
    """For MLflow's client; nothing where its server is not the team's own."""
    if not settings.is_team or settings.mlflow_uri:
        return {}
    known = read_secrets(settings)
    names = ("mlflow_tracking_username", "mlflow_tracking_password")
    return {name.upper(): known.value(name) for name in names}


def prefect_auth(settings: Settings, url: str) -> str:
    """``user:password`` for the Prefect server at ``url``; empty where it wants none."""
    if said := os.environ.get("PREFECT_API_AUTH_STRING"):
        return said
    if not settings.is_team or url != settings.own_prefect_url:
        return ""
    return read_secrets(settings).value("prefect_api_auth_string")


def s3_environment(settings: Settings, identity: str = "aws") -> dict[str, str]:
    """For boto3 and whatever is built on it: the team's server, as one of its identities.

    Parameters
    ----------
    identity
        ``aws`` (a person), ``artifacts`` (MLflow) or ``admin``.
    """
    known = read_secrets(settings)
    return {
        "AWS_ACCESS_KEY_ID": known.value(f"{identity}_access_key_id"),
        "AWS_SECRET_ACCESS_KEY": known.value(f"{identity}_secret_access_key"),
        "AWS_SESSION_TOKEN": "",
        "AWS_ENDPOINT_URL": settings.s3_url,
        "AWS_ENDPOINT_URL_S3": settings.s3_url,  # boto3 prefers it: another's may be set
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def s3_client_options(settings: Settings) -> dict[str, str]:
    """Arguments of a boto3 client: the team's, unless the environment names another server.

    Jobs of AWS Batch come with S3 of AWS.
    """
    named = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID", "AWS_PROFILE")
    elsewhere = settings.launcher == "batch" or any(os.environ.get(name) for name in named)
    if not settings.is_team or elsewhere:
        return {}
    return boto_options(s3_environment(settings))


def boto_options(environment: dict[str, str]) -> dict[str, str]:
    """What :func:`s3_environment` says, as arguments of ``boto3.client``."""
    return {
        "aws_access_key_id": environment["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": environment["AWS_SECRET_ACCESS_KEY"],
        "endpoint_url": environment["AWS_ENDPOINT_URL"],
        "region_name": environment["AWS_DEFAULT_REGION"],
    }
