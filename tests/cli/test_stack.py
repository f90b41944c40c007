"""What ``emsam up``, ``down`` and ``status`` say where nothing runs."""

from __future__ import annotations

import os
import socket

import pytest

from tests.conftest import Laboratory
from tests.ports import free_ports


@pytest.fixture
def ports() -> dict[str, str]:
    """Ports of a stack, in the form of its variables."""
    names = ("EMSAM_PREFECT_PORT", "EMSAM_MLFLOW_PORT", "EMSAM_DASHBOARD_PORT")
    return dict(zip(names, map(str, free_ports(3)), strict=True))


class Here(Laboratory):
    """A laboratory with variables of its own."""

    variables: dict[str, str]

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | self.variables


@pytest.fixture
def here(lab: Laboratory, ports: dict[str, str]) -> Here:
    made = Here(lab.path)
    made.variables = ports | {"EMSAM_POOLS": "gpu"}
    return made


@pytest.mark.parametrize("name", ["EMSAM_PREFECT_PORT", "EMSAM_MLFLOW_PORT"])
def test_a_taken_port_is_one_line_and_nothing_is_started(here: Here, name: str) -> None:
    port = here.variables[name]
    with socket.create_server(("127.0.0.1", int(port))):
        refused = here.run("up", status=2).stderr
    assert refused.count("\n") == 1
    assert f"port {port}" in refused
    assert f"process {os.getpid()}" in refused
    assert name in refused
    assert not (here.path / ".emsam" / "stack.json").exists()
    assert not (here.path / ".emsam" / "logs").exists()


def test_an_unknown_work_pool_is_one_line(here: Here) -> None:
    here.variables["EMSAM_POOLS"] = "gpu,tpu"
    refused = here.run("up", status=2).stderr
    assert refused.startswith("emsam: EMSAM_POOLS = 'gpu,tpu': no work pool is called tpu")


def test_a_port_that_is_none_is_one_line(here: Here) -> None:
    here.variables["EMSAM_MLFLOW_PORT"] = "mlflow"
    refused = here.run("status", status=2).stderr
    assert refused.count("\n") == 1
    assert "EMSAM_MLFLOW_PORT" in refused


def test_status_and_down_where_nothing_runs(here: Here) -> None:
    document = here.json("status")
    names = ["prefect", "mlflow", "worker-gpu", "dashboard"]
    assert [row["name"] for row in document["services"]] == names
    assert {row["state"] for row in document["services"]} == {"stopped"}
    assert here.json("down") == {"stopped": []}
    assert here.run("down").stdout == "nothing ran\n"


def test_servers_of_somebody_else_are_not_started(here: Here) -> None:
    here.variables |= {"EMSAM_MLFLOW_URI": "http://far:5000", "PREFECT_API_URL": "http://far/api"}
    document = here.json("status")
    assert [row["name"] for row in document["services"]] == ["worker-gpu", "dashboard"]
    assert document["prefect_api_url"] == "http://far/api"
