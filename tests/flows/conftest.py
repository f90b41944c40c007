"""A laboratory in which the main job has run once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tests.canaries import CANARIES
from tests.conftest import Laboratory, make_laboratory, overrides
from tests.ports import free_port
from tests.waiting import wait_until_served


@dataclass
class Finished:
    """A laboratory and what its first pipeline reported."""

    lab: Laboratory
    report: dict[str, Any]
    said: str = ""

    @property
    def run(self) -> Path:
        return self.lab.path / self.report["run"]

    @property
    def client(self) -> MlflowClient:
        uri = f"sqlite:///{self.lab.path / '.emsam' / 'mlflow.db'}"
        return MlflowClient(tracking_uri=uri, registry_uri=uri)


def synthesize(lab: Laboratory) -> None:
    lab.run("data", "synthetic", "tiny", "--shape", "16,96,96")


def run_after(
    code: str, lab: Laboratory, *arguments: str, status: int
) -> subprocess.CompletedProcess[str]:
    """Run emsam in a process in which ``code`` has run first."""
    script = f"{code}\nfrom emsam.cli.app import main\nmain()\n"
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=lab.path, env=lab.environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    return done


@pytest.fixture(scope="session")
def prefect_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Database and log of the Prefect server."""
    return tmp_path_factory.mktemp("prefect")


@pytest.fixture(scope="session")
def prefect_api(prefect_home: Path) -> Iterator[str]:
    """Address of a real Prefect server on SQLite."""
    home = prefect_home
    port = free_port()
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1"]
    with (home / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [*command, "--port", str(port)],
            env=Laboratory(home).environment | {"PREFECT_HOME": str(home)},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    api = f"http://127.0.0.1:{port}/api"
    try:
        wait_until_served(f"{api}/health", server, home / "server.log")
        yield api
    finally:
        server.terminate()
        server.wait(120)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> Finished:
    lab = make_laboratory(tmp_path_factory.mktemp("finished"))
    lab.prefect_api = prefect_api
    lab.variables = CANARIES
    synthesize(lab)
    done = lab.run("pipeline", "--data", "tiny", *overrides(), "--json")
    return Finished(lab, json.loads(done.stdout), done.stdout + done.stderr)
