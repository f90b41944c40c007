"""MLflow is down at the start, answers nobody in the middle, is down at the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from mlflow import MlflowClient

from tests.conftest import Laboratory
from tests.faults.conftest import STEPS, Job, assert_settled, end_of, mirrored
from tests.faults.door import MUTE, OPEN, Door
from tests.ports import free_port
from tests.waiting import wait_for, wait_until_served

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Port of a real MLflow server."""
    home, port = tmp_path_factory.mktemp("mlflow"), free_port()
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
             "--workers", "1", "--backend-store-uri", f"sqlite:///{home / 'mlflow.db'}",
             "--artifacts-destination", str(home / "artifacts")],
            cwd=home, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            env=Laboratory(home).environment | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        )  # fmt: skip
    try:
        wait_until_served(f"http://127.0.0.1:{port}/health", process, home / "log")
        yield port
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_training_goes_on_and_everything_arrives_later_once(
    make_job: Callable[..., Job], server: int
) -> None:
    door = Door(server)
    client = MlflowClient(tracking_uri=f"http://127.0.0.1:{server}")
    job = make_job(
        EMSAM_MLFLOW_URI=f"http://127.0.0.1:{door.port}", MLFLOW_HTTP_REQUEST_MAX_RETRIES="1"
    )

    def steps() -> list[int]:
        run_id = mirrored(client, job.run()).info.run_id
        return [point.step for point in client.get_metric_history(run_id, "train/loss")]

    flow = job.fine_tune(FAULT="hold-step-15")
    job.wait_held()
    wait_for(lambda: job.log().count("cannot be reached") == 1, "the message")
    assert len(job.losses()) == 14

    door.turn(OPEN)
    wait_for(lambda: "MLflow is back and has what it missed" in job.log(), "MLflow")
    assert steps() == list(range(1, 15))  # while it is still trained
    assert mirrored(client, job.run()).info.status == "RUNNING"

    door.turn(MUTE)
    wait_for(lambda: job.log().count("cannot be reached") == 2, "the message")
    job.release()
    assert end_of(flow) == 0, job.log()
    assert f"is done at step {STEPS}" in job.log()

    door.turn(OPEN)
    for _ in range(2):
        job.emsam("registry", "sync", str(job.run().path))
        assert steps() == list(range(1, STEPS + 1))
    assert_settled(job, "done", flow=("COMPLETED",), client=client)
    door.close()
