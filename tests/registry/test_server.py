"""The same moves with MLflow as a server, which a client knows by its URI."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from emsam.registry.promotion import apply_decision
from emsam.registry.reconcile import reconcile_models
from emsam.registry.rollback import roll_back
from emsam.settings import Settings
from tests.conftest import Laboratory
from tests.faults.conftest import wait_for
from tests.faults.test_mlflow_away import is_healthy
from tests.flows.conftest import free_port
from tests.registry.conftest import assert_agree, moves_of, register, settings_in
from tests.registry.test_kill import FIRST, SECOND, THIRD, kill
from tests.registry.workers import NAME, make_decision, promote_and_die, roll_back_and_die

pytestmark = pytest.mark.slow


@pytest.fixture
def served(tmp_path: Path, postgres: str) -> Iterator[Settings]:
    """MLflow behind a server, the ledger in PostgreSQL: what a team has."""
    port = free_port()
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
             "--workers", "1", "--backend-store-uri", f"sqlite:///{tmp_path / 'mlflow.db'}",
             "--artifacts-destination", str(tmp_path / "artifacts")],
            cwd=tmp_path, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            env=Laboratory(tmp_path).environment | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        )  # fmt: skip
    try:
        wait_for(lambda: is_healthy(port, process, tmp_path), "MLflow")
        uri = f"http://127.0.0.1:{port}"
        yield settings_in(tmp_path, mlflow_uri=uri, ledger_uri=postgres)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_killed_moves_are_ended_with_servers_too(
    served: Settings, processes: ForkServerContext
) -> None:
    register(served, 2)
    assert apply_decision(make_decision(1, None), served, by="Grace")
    kill(processes, promote_and_die, served, "before champion")
    assert "rolled back" in reconcile_models(served)[0].what
    assert_agree(served, 1, None)
    kill(processes, promote_and_die, served, "before the commit")
    assert "rolled forward" in reconcile_models(served)[0].what
    assert_agree(served, 2, 1)
    kill(processes, roll_back_and_die, served, "in the commit")
    assert roll_back(NAME, served, reason="merges axons", champion=2).sequence == 3
    assert_agree(served, 1, 2)
    assert moves_of(served) == [FIRST, SECOND, THIRD]
