"""AWS Batch and S3 as moto serves them over HTTP; jobs are real processes of this machine.

moto runs containers with Docker. Here the command of a container runs as a process instead, in a
folder of its own, with nothing of this machine's settings but where Python and AWS are.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import boto3
import moto.batch.models
import pytest
from moto.batch.models import Job
from moto.server import ThreadedMotoServer

from emsam.documents import write_whole

REGION, BUCKET = "us-east-1", "lab"
GRACE = 200.0
"""Seconds between SIGTERM and SIGKILL: AWS's 30, for a machine that does much else."""


@dataclass
class BatchServer:
    """A running server with the queue ``gpus`` and the job definition ``emsam``."""

    url: str
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.url, "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "tester",
        }  # fmt: skip

    def client(self, service: str) -> Any:
        return boto3.client(
            service, endpoint_url=self.url, region_name=REGION,
            aws_access_key_id="tester", aws_secret_access_key="tester",
        )  # fmt: skip

    def jobs(self) -> list[dict[str, Any]]:
        """Every job that was ever submitted."""
        return list(self.client("batch").describe_jobs(jobs=[])["jobs"])

    def pids(self) -> list[int]:
        """Processes of containers, in the order in which they were started."""
        files = sorted(self.folder.glob("*/pid"), key=lambda file: file.stat().st_mtime_ns)
        return [int(file.read_text()) for file in files]


def _run(self: Job, folder: Path, environment: dict[str, str]) -> None:
    """In place of moto's ``Job.run``: the attempts of a job, one after the other."""
    code = 1
    self.job_started_at = datetime.now()
    for attempt in range(1, 4):
        self._start_attempt()
        self.status = "RUNNING"
        code = _attempt(self, folder / f"{self.job_id}-{attempt}", environment)
        if code >= 0:
            self.latest_attempt["container"]["exitCode"] = code
        if code != -signal.SIGKILL or self.stop:
            break
        self.job_stopped_reason = "Host EC2 (instance i-0) terminated."
        self.status = "RUNNABLE"
    self._mark_stopped(success=code == 0)


def _attempt(job: Job, folder: Path, environment: dict[str, str]) -> int:
    """Run the container's command until it ends or the job is terminated."""
    folder.mkdir()
    here = {each["name"]: each["value"] for each in job._get_container_property("environment", [])}
    command = job._get_container_property("command", [])
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *command[1:]], cwd=folder, stdout=log, stderr=log,
            start_new_session=True,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
                 "HOME": str(folder), "OMP_NUM_THREADS": "1", **environment, **here},
        )  # fmt: skip
    write_whole(folder / "pid", str(process.pid))
    while process.poll() is None and not job.stop:
        time.sleep(0.1)
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        return process.wait(GRACE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.wait()


@contextmanager
def run_batch_server(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[BatchServer]:
    """moto on a port of its own."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto_server = ThreadedMotoServer(port=0)
    moto_server.start()
    _, port = moto_server.get_host_and_port()
    server = BatchServer(f"http://127.0.0.1:{port}", folder)
    patch.setattr(Job, "run", lambda job: _run(job, folder, server.environment))
    try:
        server.client("s3").create_bucket(Bucket=BUCKET)
        _create_queue(server)
        yield server
    finally:
        for job in list(_all_jobs()):
            job.terminate("the test is over")
            job.join()
        moto_server.stop()


def _all_jobs() -> Iterator[Job]:
    for regions in moto.batch.models.batch_backends.values():
        for backend in regions.values():
            yield from backend._jobs.values()


def _create_queue(server: BatchServer) -> None:
    role = server.client("iam").create_role(RoleName="batch", AssumeRolePolicyDocument="{}")
    batch = server.client("batch")
    environment = batch.create_compute_environment(
        computeEnvironmentName="gpus", type="UNMANAGED", state="ENABLED",
        serviceRole=role["Role"]["Arn"],
    )["computeEnvironmentArn"]  # fmt: skip
    batch.create_job_queue(
        jobQueueName="gpus", state="ENABLED", priority=1,
        computeEnvironmentOrder=[{"order": 1, "computeEnvironment": environment}],
    )  # fmt: skip
