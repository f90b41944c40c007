"""Flows with faults in them, and what must be true after each."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlflow import MlflowClient

from emsam.locks import try_lock
from emsam.settings import Settings
from emsam.stack.web import ask
from emsam.train.run_directory import RunDirectory
from tests.conftest import Laboratory, make_laboratory, overrides
from tests.flows.conftest import prefect_api, prefect_home, synthesize
from tests.processes import kill_all, processes_in
from tests.waiting import PATIENCE, wait_for
from tests.warm_start import run_warm

__all__ = ["prefect_api", "prefect_home"]

STEPS = 40
JOB = (
    f"train.steps={STEPS}", "train.batch_size=2", "train.checkpoint_every=5",
    "train.validate_every=15",  # where a checkpoint is written anyway
)  # fmt: skip
INJECTED = Path(__file__).parent / "injected"
FLOW = """
import sys
from emsam.params import load_params
from flows.fine_tune import fine_tune
fine_tune(load_params(None, sys.argv[1:]))
"""
FINAL = {"done": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
"""What MLflow says of a state of the run directory."""


@dataclass
class Job:
    """A fine-tuning job with folders of its own in a laboratory that all share."""

    lab: Laboratory
    path: Path
    settings: dict[str, str]
    items: tuple[str, ...] = JOB

    @property
    def places(self) -> dict[str, str]:
        runs = str(self.path / "runs")
        # nobody is killed because the machine is slow
        return {"EMSAM_RUNS_ROOT": runs, "EMSAM_SYNC_SECONDS": "1", "EMSAM_GRACE_SECONDS": "200"}

    @property
    def environment(self) -> dict[str, str]:
        """What a job needs that may have a fault in it."""
        path = os.pathsep.join(filter(None, [str(INJECTED), os.environ.get("PYTHONPATH", "")]))
        home = {"PREFECT_HOME": str(self.path / "prefect"), "FAULT_FOLDER": str(self.path)}
        return self.lab.environment | home | {"PYTHONPATH": path} | self.places | self.settings

    @property
    def options(self) -> list[str]:
        return overrides(*self.items)[1::2]

    def fine_tune(self, **fault: str) -> subprocess.Popen[bytes]:
        """Start the flow as a worker does: in a process group of its own, output to a file."""
        command = [sys.executable, "-c", FLOW, "data.name=tiny", *self.options]
        return self.start(command, **fault)

    def start_train(self) -> subprocess.Popen[bytes]:
        """Start 'emsam train', as a terminal does."""
        return self.start(self.lab.command("train", "--data", "tiny", *overrides(*self.items)))

    def start(self, command: list[str], **fault: str) -> subprocess.Popen[bytes]:
        with (self.path / "log").open("ab") as log:
            return subprocess.Popen(
                command, cwd=self.lab.path, env=self.environment | fault,
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip

    def emsam(self, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        here = self.lab.environment | self.places | self.settings
        done = run_warm("emsam.cli", list(words), self.lab.path, here)
        assert done.returncode == status, f"{words}: {done.stdout}\n{done.stderr}"
        return done

    def train(self, status: int = 0) -> str:
        """Bring it to its end without Prefect, which takes longer to start; returns errors."""
        done = self.emsam("train", "--data", "tiny", *overrides(*self.items), status=status)
        return done.stderr

    def log(self) -> str:
        return (self.path / "log").read_text()

    def run(self) -> RunDirectory:
        """The one run directory of the job."""
        (path,) = wait_for(lambda: list((self.path / "runs").glob("*/inputs.json")), "the run")
        return RunDirectory(path.parent)

    def status(self) -> dict[str, Any]:
        return self.run().status()

    def wait_until(self, state: str, step: int = 0) -> dict[str, Any]:
        """Until the status says ``state`` at ``step`` or later."""

        def reached() -> dict[str, Any] | None:
            status = self.status()
            return status if status["state"] == state and status["step"] >= step else None

        return dict(wait_for(reached, f"{state} at step {step}: {self.log()}"))

    def wait_held(self) -> None:
        wait_for((self.path / "held").exists, f"the fault: {self.log()}")

    def release(self) -> None:
        (self.path / "go").touch()

    def newest_step(self) -> int:
        checkpoint = self.run().newest_checkpoint()
        return int(checkpoint.name.removeprefix("step-")) if checkpoint else 0

    def weights(self) -> str:
        """sha256 of the newest checkpoint's weights."""
        manifest = json.loads((self.run().require_checkpoint() / "manifest.json").read_text())
        return str(manifest["files"]["model.safetensors"]["sha256"])

    def losses(self) -> list[tuple[int, float]]:
        return [(line["step"], line["train/loss"]) for line in self.run().metrics()]


def slots_in_use(lab: Laboratory) -> int:
    """Of Prefect's limit for this host's CPUs."""
    limit = ask("GET", f"{lab.prefect_api}/v2/concurrency_limits/emsam-{socket.gethostname()}-cpu")
    return int(limit["active_slots"])


def flow_state(job: Job) -> str:
    """Of the job's newest flow run."""
    newest = re.findall(r"/flow-run/([0-9a-f-]{36})", job.log())[-1]
    return str(ask("GET", f"{job.lab.prefect_api}/flow_runs/{newest}")["state_type"])


def mirrored(client: MlflowClient, run: RunDirectory) -> Any:
    """The MLflow run of a run directory; fails if there are two."""
    experiment = client.get_experiment_by_name("emsam")
    assert experiment is not None
    (found,) = client.search_runs(
        [experiment.experiment_id], f"tags.`emsam.key` = '{run.inputs()['id']}'"
    )
    return found


def local_client(lab: Laboratory) -> MlflowClient:
    uri = f"sqlite:///{lab.path / '.emsam' / 'mlflow.db'}"
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def assert_settled(
    job: Job, state: str, *, flow: tuple[str, ...], client: MlflowClient | None = None
) -> None:
    """No process, no slot; Prefect, MLflow, the run directory and DVC agree on ``state``."""
    lab, run = job.lab, job.run()
    wait_for(lambda: not processes_in(lab.path), "the end of flows, agents and trainers")
    for lock in Settings(home=lab.path / ".emsam").slots_root.glob("*.lock"):
        with try_lock(lock) as free:
            assert free, lock
    assert slots_in_use(lab) == 0
    assert run.status()["state"] == state, job.log()
    assert flow_state(job) in flow
    client = client or local_client(lab)
    found = mirrored(client, run)
    assert found.info.status == FINAL[state]
    assert found.data.tags["emsam.state"] == state
    history = client.get_metric_history(found.info.run_id, "train/loss")
    assert [(point.step, point.value) for point in history] == job.losses()
    (version,) = lab.json("data", "log", "tiny")
    assert version["digest"] == run.inputs()["data"][0]["digest"]
    assert lab.git("status", "--porcelain") == ""
    assert lab.git("worktree", "list").count("\n") == 0


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> Laboratory:
    """A laboratory with a published volume and a Prefect server."""
    lab = make_laboratory(tmp_path_factory.mktemp("published"))
    lab.prefect_api = prefect_api
    synthesize(lab)
    lab.run("data", "publish", "tiny")
    local_client(lab).search_experiments()  # makes the database: a job of seconds may not
    return lab


@pytest.fixture(scope="session")
def whole(published: Laboratory, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """The job of all these tests, never disturbed."""
    job = Job(published, tmp_path_factory.mktemp("whole"), {})
    job.train()
    return job


@pytest.fixture
def make_job(published: Laboratory, tmp_path: Path) -> Iterator[Callable[..., Job]]:
    """Makes jobs; what is left of them in the end is killed."""
    count = 0

    def make(*items: str, **settings: str) -> Job:
        nonlocal count
        count += 1
        path = tmp_path / f"job-{count}"
        path.mkdir()
        return Job(published, path, settings, (*JOB, *items))

    yield make
    kill_all(processes_in(published.path))


@pytest.fixture
def job(make_job: Callable[..., Job]) -> Job:
    return make_job()


def trainer_of(job: Job) -> psutil.Process:
    """The process that the status names."""
    return psutil.Process(job.status()["pid"])


def end_of(process: subprocess.Popen[bytes]) -> int:
    """Its exit status, once it has ended."""
    return process.wait(PATIENCE)


def terminate(flow: subprocess.Popen[bytes]) -> None:
    """SIGTERM to the process group, as a Prefect worker cancels."""
    os.killpg(flow.pid, signal.SIGTERM)


def assert_goes_on(job: Job, whole: Job) -> None:
    """The same job again ends as the one that was never disturbed, to the bit."""
    job.release()
    job.train()
    assert job.losses() == whole.losses()
    assert job.weights() == whole.weights()
