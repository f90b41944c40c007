"""Which services make the stack, and how each is started and asked whether it is well."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from emsam.credentials import prefect_auth, read_secrets, s3_environment
from emsam.errors import InputError
from emsam.quiet import QUIET_ENVIRONMENT
from emsam.settings import Settings
from emsam.stack import postgres, seaweed, team
from emsam.stack.prefect_api import PrefectApi
from emsam.stack.service import Service, python
from emsam.stack.web import answers

POOLS = ("cpu", "gpu")
"""Work pools: one per kind of hardware."""


def planned(settings: Settings) -> list[str]:
    """Names of the services of this machine, in the order in which they start.

    Servers are left out whose place the settings give to those of somebody else.
    """
    names = ["postgres", "s3"] if settings.is_team else []
    names += ["prefect"] if prefect_url(settings) == settings.own_prefect_url else []
    names += [] if settings.mlflow_uri else ["mlflow"]
    return [*names, *(f"worker-{pool}" for pool in pools(settings)), "dashboard"]


def build(name: str, settings: Settings) -> Service:
    """The service called ``name``."""
    if name.startswith("worker-"):
        return _worker(name.removeprefix("worker-"), settings)
    makers = {
        "postgres": postgres.service, "s3": seaweed.service, "prefect": _prefect,
        "mlflow": _mlflow, "dashboard": _dashboard,
    }  # fmt: skip
    return makers[name](settings)


def prefect_url(settings: Settings) -> str:
    """Prefect's server: the one that ``PREFECT_API_URL`` names, else our own."""
    return os.environ.get("PREFECT_API_URL") or settings.own_prefect_url


def prefect_api(settings: Settings) -> PrefectApi:
    """Prefect's server, with what it asks for."""
    url = prefect_url(settings)
    return PrefectApi(url, prefect_auth(settings, url))


def _prefect(settings: Settings) -> Service:
    port, url = settings.prefect_port, settings.own_prefect_url
    environment = prefect_environment(settings, url) | {
        # in the server's memory a slot would be held for ever once the server is restarted
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": (
            "prefect.server.concurrency.lease_storage.filesystem"
        ),
    }
    if settings.is_team:
        environment |= {
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": settings.postgres_url("prefect", "asyncpg"),
            "PREFECT_SERVER_API_AUTH_STRING": environment["PREFECT_API_AUTH_STRING"],
        }
    return Service(
        "prefect",
        python("prefect", "server", "start", "--host", settings.listen, "--port", str(port)),
        environment,
        url,
        lambda running: answers(f"{running.url}/health"),
        port,
        "EMSAM_PREFECT_PORT",
    )


def _mlflow(settings: Settings) -> Service:
    port, url = settings.mlflow_port, settings.own_mlflow_url
    environment = {
        # three helper processes and 2 GB, for jobs that nobody here starts
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    artifacts: tuple[str, ...] = ("--default-artifact-root", settings.artifact_root)
    prepare = python("emsam.registry.tracking_database", str(settings.mlflow_file))
    if settings.is_team:
        environment |= _mlflow_team_environment(settings)
        prepare = ()
        artifacts = (
            "--serve-artifacts", "--artifacts-destination", f"s3://{seaweed.ARTIFACTS}",
            "--app-name", "basic-auth",
        )  # fmt: skip
    return Service(
        "mlflow",
        python(
            "mlflow", "server", "--host", settings.listen, "--port", str(port), "--workers", "1",
            "--backend-store-uri", settings.database_uri, *artifacts,
        ),
        QUIET_ENVIRONMENT | environment,
        url,
        lambda running: answers(f"{running.url}/health"),
        port,
        "EMSAM_MLFLOW_PORT",
        prepare=prepare,
    )  # fmt: skip


def _mlflow_team_environment(settings: Settings) -> dict[str, str]:
    """Where a team's MLflow finds who may do what, and its part of S3."""
    known = read_secrets(settings)
    return s3_environment(settings, "artifacts") | {
        "MLFLOW_AUTH_CONFIG_PATH": str(team.mlflow_auth_file(settings)),
        "MLFLOW_AUTH_ADMIN_PASSWORD": known.value("mlflow_tracking_password"),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": known.value("mlflow_flask_server_secret_key"),
        "MLFLOW_S3_ENDPOINT_URL": settings.s3_url,
    }


def _worker(pool: str, settings: Settings) -> Service:
    name, api = worker_name(pool), prefect_api(settings)
    return Service(
        f"worker-{pool}",
        python("prefect", "worker", "start", "--pool", pool, "--name", name),
        prefect_environment(settings, api.url),
        "",
        lambda running: api.worker_is_online(pool, name, running.started),
        pool=pool,
        grace=45.0,
    )


def worker_name(pool: str) -> str:
    """Name under which this machine's worker of a pool is known to Prefect."""
    return f"{socket.gethostname()}-{pool}"


def _dashboard(settings: Settings) -> Service:
    port = settings.dashboard_port
    url = f"http://{settings.reachable}:{port}"
    return Service(
        "dashboard",
        python(
            "dashboards", "--server.address", settings.listen, "--server.port", str(port),
        ),
        QUIET_ENVIRONMENT,
        url,
        lambda running: answers(f"{running.url}/_stcore/health"),
        port,
        "EMSAM_DASHBOARD_PORT",
    )  # fmt: skip


def pools(settings: Settings) -> list[str]:
    """Work pools that this machine serves: those that were asked for, else what it has."""
    asked = [name.strip() for name in settings.pools.split(",") if name.strip()]
    unknown = sorted(set(asked) - set(POOLS))
    if unknown:
        raise InputError(
            f"EMSAM_POOLS = {settings.pools!r}: no work pool is called {unknown[0]}; "
            f"choose from {', '.join(POOLS)}"
        )
    return asked or (["cpu", "gpu"] if _has_gpu() else ["cpu"])


def prefect_environment(settings: Settings, url: str) -> dict[str, str]:
    """What a process of Prefect's needs to find its server and keep its files in our home."""
    environment = QUIET_ENVIRONMENT | {
        "PREFECT_API_URL": url,
        "PREFECT_HOME": str((settings.home / "prefect").absolute()),
    }
    if auth := prefect_auth(settings, url):
        environment["PREFECT_API_AUTH_STRING"] = auth
    return environment


def _has_gpu() -> bool:
    """Whether NVIDIA's driver shows a GPU; torch would take seconds to say so."""
    return any(Path("/dev").glob("nvidia[0-9]*"))
