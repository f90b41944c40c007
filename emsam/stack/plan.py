"""Which services make the stack, and how each is started and asked whether it is well."""

from __future__ import annotations

import importlib.util
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from emsam.errors import InputError
from emsam.quiet import QUIET_ENVIRONMENT
from emsam.services import RunningService, read_state
from emsam.settings import Settings
from emsam.stack.prefect_api import PrefectApi
from emsam.stack.web import answers

POOLS = ("cpu", "gpu")
"""Work pools: one per kind of hardware."""


@dataclass(frozen=True)
class Service:
    """A service as it is to be started.

    Attributes
    ----------
    port, variable
        Where it listens, if it does, and the variable that moves it.
    is_well
        Asks it, once it was started.
    pool
        Work pool that it serves, if it is a worker. Its runs outlive it.
    deadline
        Seconds that it may take from its start to its first answer.
    grace
        Seconds that it may take to stop.
    """

    name: str
    command: tuple[str, ...]
    environment: dict[str, str]
    url: str
    is_well: Callable[[RunningService], bool]
    port: int | None = None
    variable: str = ""
    deadline: float = 300.0
    grace: float = 15.0
    pool: str = ""


def planned(settings: Settings) -> list[str]:
    """Names of the services of this machine, in the order in which they start.

    Servers are left out whose place the settings give to those of somebody else.
    """
    names = ["prefect"] if prefect_url(settings) == own_prefect_url(settings) else []
    names += [] if settings.mlflow_uri else ["mlflow"]
    return [*names, *(f"worker-{pool}" for pool in pools(settings)), "dashboard"]


def build(name: str, settings: Settings) -> Service:
    """The service called ``name``."""
    if name.startswith("worker-"):
        return _worker(name.removeprefix("worker-"), settings)
    return {"prefect": _prefect, "mlflow": _mlflow, "dashboard": _dashboard}[name](settings)


def prefect_url(settings: Settings) -> str:
    """Prefect's server: the one that ``PREFECT_API_URL`` names, else our own."""
    return os.environ.get("PREFECT_API_URL") or own_prefect_url(settings)


def own_prefect_url(settings: Settings) -> str:
    """Where the stack's own server runs, or would run."""
    running = read_state(settings.home).services.get("prefect")
    if running and running.is_alive():
        return running.url
    return f"http://{_reachable(settings.listen)}:{settings.prefect_port}/api"


def _prefect(settings: Settings) -> Service:
    port, url = settings.prefect_port, own_prefect_url(settings)
    return Service(
        "prefect",
        _python("prefect", "server", "start", "--host", settings.listen, "--port", str(port)),
        prefect_environment(settings, url)
        | {
            # in the server's memory a slot would be held for ever once the server is restarted
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": (
                "prefect.server.concurrency.lease_storage.filesystem"
            ),
        },
        url,
        lambda running: answers(f"{running.url}/health"),
        port,
        "EMSAM_PREFECT_PORT",
    )


def _mlflow(settings: Settings) -> Service:
    port = settings.mlflow_port
    url = f"http://{_reachable(settings.listen)}:{port}"
    environment = {
        # three helper processes and 2 GB, for jobs that nobody here starts
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    return Service(
        "mlflow",
        _python(
            "mlflow", "server", "--host", settings.listen, "--port", str(port), "--workers", "1",
            "--backend-store-uri", settings.database_uri,
            "--default-artifact-root", settings.artifact_root,
        ),
        QUIET_ENVIRONMENT | environment,
        url,
        lambda running: answers(f"{running.url}/health"),
        port,
        "EMSAM_MLFLOW_PORT",
    )  # fmt: skip


def _worker(pool: str, settings: Settings) -> Service:
    name, api = worker_name(pool), PrefectApi(prefect_url(settings))
    return Service(
        f"worker-{pool}",
        _python("prefect", "worker", "start", "--pool", pool, "--name", name),
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
    url = f"http://{_reachable(settings.listen)}:{port}"
    package = importlib.util.find_spec("dashboards")
    assert package is not None
    assert package.origin is not None
    app = str(Path(package.origin).with_name("app.py"))
    return Service(
        "dashboard",
        _python(
            "streamlit", "run", app, "--server.headless", "true",
            "--server.address", settings.listen, "--server.port", str(port),
            "--browser.gatherUsageStats", "false",
            "--client.showErrorDetails", "none", "--client.toolbarMode", "minimal",
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
    return QUIET_ENVIRONMENT | {
        "PREFECT_API_URL": url,
        "PREFECT_HOME": str((settings.home / "prefect").absolute()),
    }


def _python(module: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module, *arguments)


def _reachable(listen: str) -> str:
    """Address at which this machine reaches what listens on ``listen``."""
    return "127.0.0.1" if listen in ("0.0.0.0", "::") else listen


def _has_gpu() -> bool:
    """Whether NVIDIA's driver shows a GPU; torch would take seconds to say so."""
    return any(Path("/dev").glob("nvidia[0-9]*"))
