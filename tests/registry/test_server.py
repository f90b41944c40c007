"""The same moves with MLflow as a server, which a client knows by its URI."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from sqlalchemy import create_engine, text

from emsam.data.store import Volume
from emsam.data.synthetic import synthesize_volume
from emsam.params import load_params
from emsam.registry.client import open_client
from emsam.registry.promotion import apply_decision
from emsam.registry.reconcile import reconcile_models
from emsam.registry.rollback import roll_back
from emsam.registry.tracking import sync_run
from emsam.settings import Settings
from emsam.train.checkpoints import Score
from emsam.train.prepare import prepare_run
from tests.conftest import TINY, Laboratory, make_laboratory, overrides
from tests.ports import free_port
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
from tests.waiting import wait_for, wait_until_served

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
            wait_until_served(f"http://127.0.0.1:{port}/health", process, tmp_path / "log")
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


def test_mlflow_has_the_newest_and_the_best_checkpoint_and_no_others(
    served: Settings, tmp_path: Path
) -> None:
    synthesize_volume("tiny", served.volume_path("tiny"), shape=(10, 64, 64))
    params = load_params(overrides=[*TINY, "data.name=tiny"])
    run = prepare_run(params, served, tmp_path / "first")

    def mirrored() -> list[str]:
        client = open_client(served)
        run_id = sync_run(run, served)
        folders = [each.path for each in client.list_artifacts(run_id, "checkpoints")]
        # SeaweedFS shows an empty folder for a while
        return [Path(each).name for each in folders if client.list_artifacts(run_id, each)]

    for step, value in ((10, 0.4), (20, 0.2), (30, 0.3)):
        weights = {"weight": torch.full((3,), float(step))}
        score = Score("arand_contest_2d", value)
        run.save_checkpoint(step, weights, {"step": step}, keep=2, score=score)
        assert mirrored() == sorted({f"step-{step:06d}", f"step-{min(step, 20):06d}"})
    run.save_checkpoint(40, weights, {"step": 40}, keep=2)
    assert mirrored() == ["step-000020", "step-000040"]
    shutil.rmtree(run.checkpoints)  # somebody made room here
    assert mirrored() == ["step-000020", "step-000040"]


def wait_until_freed(settings: Settings) -> None:
    """Until PostgreSQL has seen that a holder of its lock is gone; nothing waits for that."""
    held = (
        "select count(*) from pg_locks join pg_database on pg_database.oid = database"
        " where locktype = 'advisory' and datname = current_database()"
    )
    with create_engine(settings.ledger_uri).connect() as connection:
        wait_for(lambda: connection.execute(text(held)).scalar() == 0, "the lock to be free")


def test_killed_moves_are_ended_with_servers_too(
    served: Settings, processes: ForkServerContext
) -> None:
    register(served, 2)
    assert apply_decision(make_decision(1, None), served, by="Grace")
    kill(processes, promote_and_die, served, "before champion")
    wait_until_freed(served)
    assert "rolled back" in reconcile_models(served)[0].what
    assert_agree(served, 1, None)
    kill(processes, promote_and_die, served, "before the commit")
    wait_until_freed(served)
    assert "rolled forward" in reconcile_models(served)[0].what
    assert_agree(served, 2, 1)
    kill(processes, roll_back_and_die, served, "in the commit")
    assert roll_back(NAME, served, reason="merges axons", champion=2).sequence == 3
    assert_agree(served, 1, 2)
    assert moves_of(served) == [FIRST, SECOND, THIRD]
