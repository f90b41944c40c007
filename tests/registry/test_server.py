"""The same moves with MLflow as a server, which a client knows by its URI."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path

import numpy as np
import pytest
import tifffile

from emsam.data.store import Volume
from emsam.registry.promotion import apply_decision
from emsam.registry.reconcile import reconcile_models
from emsam.registry.rollback import roll_back
from emsam.settings import Settings
from tests.conftest import Laboratory, make_laboratory, overrides
from tests.faults.test_mlflow_away import is_healthy
from tests.flows.conftest import free_port
from tests.registry.conftest import (
    assert_agree,
    create_database,
    moves_of,
    register,
    settings_in,
)
from tests.registry.test_kill import FIRST, SECOND, THIRD, kill
from tests.registry.workers import NAME, make_decision, promote_and_die, roll_back_and_die
from tests.s3_server import run_s3_server
from tests.waiting import wait_for

pytestmark = pytest.mark.slow


@pytest.fixture
def served(tmp_path: Path, postgres_server: str) -> Iterator[Settings]:
    """What a team has: MLflow and the ledger in PostgreSQL, artifacts in S3 behind the server.

    S3's credentials are the server's alone.
    """
    port = free_port()
    backend = create_database(postgres_server).replace("postgresql:", "postgresql+psycopg2:")
    (tmp_path / "s3").mkdir()
    with run_s3_server(tmp_path / "s3") as s3, (tmp_path / "log").open("wb") as log:
        settings = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
             "--workers", "1", "--backend-store-uri", backend,
             "--artifacts-destination", "s3://emsam/mlflow"],
            cwd=tmp_path, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            env=Laboratory(tmp_path).environment | s3.environment() | settings,
        )  # fmt: skip
        try:
            wait_for(lambda: is_healthy(port, process, tmp_path), "MLflow")
            ledger = create_database(postgres_server)
            uri = f"http://127.0.0.1:{port}"
            yield settings_in(tmp_path, mlflow_uri=uri, ledger_uri=ledger)
            assert any(key.startswith("mlflow/") for key in s3.keys("emsam"))
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_a_team_goes_from_a_volume_to_masks(served: Settings, tmp_path: Path) -> None:
    class Team(Laboratory):
        @property
        def environment(self) -> dict[str, str]:
            places = {"EMSAM_MLFLOW_URI": served.mlflow_uri, "EMSAM_LEDGER_URI": served.ledger_uri}
            return super().environment | places

    lab = Team(make_laboratory(tmp_path / "lab").path)
    lab.run("data", "synthetic", "tiny", "--shape", "16,96,96")
    report = lab.json("pipeline", "--data", "tiny", *overrides())
    assert (report["tracking_uri"], report["champion"]) == (served.mlflow_uri, f"{NAME}/1")
    assert not (lab.path / ".emsam" / "mlflow.db").exists()
    assert not (lab.path / ".emsam" / "ledger.db").exists()
    assert lab.json("registry", "verify", NAME)["wrong"] == []
    plane = Volume(lab.path / "data" / "tiny" / "volume.zarr").image(0)
    tifffile.imwrite(lab.path / "em.tif", (255 * plane).astype(np.uint8)[None])
    lab.run("segment", "em.tif", "--model", f"{NAME}@champion", "--out", "ids.tif")
    assert tifffile.imread(lab.path / "ids.tif").shape[-2:] == plane.shape
    lab.run("rollback", NAME, "--reason", "nothing to go back to", status=2)


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
