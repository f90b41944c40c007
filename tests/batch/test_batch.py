"""Jobs on AWS Batch: moto's server, real S3 requests, and trainers in processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from emsam.data.digest import file_sha256
from emsam.train.run_directory import RunDirectory
from tests.batch_server import BUCKET, BatchServer, run_batch_server
from tests.conftest import Laboratory, make_laboratory, overrides
from tests.waiting import wait_for

pytestmark = pytest.mark.slow

DEFINITION = Path(__file__).parents[2] / "pools" / "aws-batch.json"
STEPS = 24
LONGER = ("train.steps=150", "train.batch_size=2", "train.checkpoint_every=5")


@dataclass
class Cloud(Laboratory):
    """A laboratory whose jobs train on AWS Batch."""

    server: BatchServer = field(default_factory=lambda: BatchServer("", Path()))

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | self.server.environment | {
            "EMSAM_LAUNCHER": "batch", "EMSAM_BATCH_QUEUE": "gpus", "EMSAM_SYNC_SECONDS": "0.5",
            "EMSAM_BATCH_DEFINITION": "emsam-gpu", "EMSAM_BATCH_ROOT": f"s3://{BUCKET}/team",
        }  # fmt: skip

    def words(self, name: str, *more: str) -> list[str]:
        return ["train", "--data", "tiny", "--run", f"runs/{name}", *overrides(*more)]

    def start(self, name: str, *more: str) -> subprocess.Popen[bytes]:
        """``emsam train`` in the background."""
        with self.log_file.open("ab") as log:
            return subprocess.Popen(
                self.command(*self.words(name, *more)), cwd=self.path, env=self.environment,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    @property
    def log_file(self) -> Path:
        """What commands in the background printed."""
        return self.path.parent / "launchers.log"

    def directory(self, name: str) -> RunDirectory:
        return RunDirectory(self.path / "runs" / name)

    def steps(self, name: str) -> list[int]:
        return [line["step"] for line in self.directory(name).metrics()]

    def keys(self, name: str) -> list[str]:
        """Objects of a run."""
        there = self.server.client("s3").list_objects_v2(Bucket=BUCKET, Prefix=f"team/runs/{name}-")
        return [each["Key"] for each in there.get("Contents", [])]

    def wait_for_step(self, name: str, step: int) -> None:
        """Wait until the launcher has seen a step, and S3 a checkpoint of it."""

        def arrived() -> bool:
            saved = any(key.endswith("manifest.json") for key in self.keys(name))
            return saved and self.directory(name).status()["step"] >= step

        wait_for(arrived, f"step {step} of {name}")


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    folder = tmp_path_factory.mktemp("cloud").resolve()
    make_laboratory(folder / "lab")
    containers = folder / "containers"
    containers.mkdir()
    with pytest.MonkeyPatch.context() as patch, run_batch_server(containers, patch) as server:
        server.client("batch").register_job_definition(**json.loads(DEFINITION.read_text()))
        made = Cloud(folder / "lab", server=server)
        made.run("data", "synthetic", "tiny", "--shape", "16,96,96")
        yield made


def test_a_job_on_batch_has_the_weights_of_one_that_was_trained_here(cloud: Cloud) -> None:
    cloud.run(*cloud.words("far"))
    near = Laboratory(cloud.path)
    near.run(*cloud.words("near"))
    far, here = cloud.directory("far"), cloud.directory("near")
    assert far.is_done()
    assert far.status()["batch_job"] == cloud.server.jobs()[0]["jobId"]
    assert cloud.steps("far") == list(range(1, STEPS + 1))
    weights = [file_sha256(run.require_checkpoint() / "model.safetensors") for run in (far, here)]
    assert weights[0] == weights[1]
    assert "batch" not in json.dumps(here.status())
    before = len(cloud.server.jobs())
    cloud.run(*cloud.words("far"))
    assert len(cloud.server.jobs()) == before  # done is done


def test_a_machine_that_is_taken_away_costs_the_steps_since_its_last_checkpoint(
    cloud: Cloud,
) -> None:
    launcher = cloud.start("spot", *LONGER, "train.steps=600", "seed=1")
    cloud.wait_for_step("spot", 20)
    os.killpg(cloud.server.pids()[-1], signal.SIGKILL)
    assert launcher.wait(300) == 0, cloud.log_file.read_text()
    assert cloud.steps("spot") == list(range(1, 601))
    assert len(cloud.server.jobs()[-1]["attempts"]) == 2
    log = cloud.server.folder / f"{cloud.server.jobs()[-1]['jobId']}-2" / "log"
    assert log.read_text() == ""


def test_a_killed_launcher_finds_its_job_again(cloud: Cloud) -> None:
    job = (*LONGER, "train.steps=600", "seed=2")  # it goes on while the second launcher starts
    launcher = cloud.start("orphan", *job)
    cloud.wait_for_step("orphan", 5)
    launcher.kill()
    launcher.wait()
    before = len(cloud.server.jobs())
    cloud.run(*cloud.words("orphan", *job))
    assert len(cloud.server.jobs()) == before
    assert cloud.steps("orphan") == list(range(1, 601))


def test_ctrl_c_and_jobs_stop_end_a_job_at_a_checkpoint_and_the_same_command_goes_on(
    cloud: Cloud,
) -> None:
    job = (*LONGER, "train.steps=3000", "seed=3")
    launcher = cloud.start("stopped", *job)
    cloud.wait_for_step("stopped", 5)
    launcher.send_signal(signal.SIGINT)
    assert launcher.wait(200) == 130, cloud.log_file.read_text()
    first = cloud.directory("stopped").status()
    assert first["state"] == "stopped"
    assert cloud.directory("stopped").newest_checkpoint() is not None
    launcher = cloud.start("stopped", *job)
    cloud.wait_for_step("stopped", first["step"] + 5)
    stopped = cloud.json("jobs", "stop", "stopped")
    assert launcher.wait(200) == 75, cloud.log_file.read_text()
    assert stopped["state"] == "stopped"
    assert cloud.steps("stopped") == list(range(1, stopped["step"] + 1))
    assert not any(key.endswith("lease.json") for key in cloud.keys("stopped"))


def test_bad_settings_are_told_before_anything_is_sent(cloud: Cloud) -> None:
    def refused(**settings: str) -> str:
        before = len(cloud.server.jobs())
        done = subprocess.run(
            cloud.command(*cloud.words("bad", "seed=4")), cwd=cloud.path, text=True,
            env=cloud.environment | settings, capture_output=True,
        )  # fmt: skip
        assert done.returncode == 2, done.stderr
        assert len(cloud.server.jobs()) == before
        (line,) = [line for line in done.stderr.splitlines() if line]
        return line

    assert "EMSAM_BATCH_QUEUE: not set" in refused(EMSAM_BATCH_QUEUE="")
    assert "Job queue nowhere does not exist" in refused(EMSAM_BATCH_QUEUE="nowhere")
    assert "s3://bucket/folder" in refused(EMSAM_BATCH_ROOT="/data")
    assert "no such bucket" in refused(EMSAM_BATCH_ROOT="s3://nothing/here")
    assert "definition" in refused(EMSAM_BATCH_DEFINITION="unknown").lower()
