"""What is asked of AWS Batch and what its answers mean, by botocore's own models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from botocore.stub import ANY, Stubber

from emsam.errors import InputError, TrainingFailed, TrainingStopped
from emsam.launch.batch import _Batch
from emsam.launch.outcome import settle
from emsam.params import load_params
from emsam.settings import Settings
from emsam.train.run_directory import RunDirectory

ADDRESS = "s3://lab/team/runs/ca1-neurites.v2-0a1b2c3d"
NAME = "emsam-ca1-neurites-v2-0a1b2c3d"


@pytest.fixture
def batch(monkeypatch: pytest.MonkeyPatch) -> _Batch:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "tester")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    settings = Settings(
        launcher="batch", batch_queue="gpus", batch_definition="emsam:3",
        batch_root="s3://lab/team", devices=4, deadline_minutes=90,
    )  # fmt: skip
    return _Batch(settings)


def answers(batch: _Batch, question: str, answer: dict[str, Any], asked: Any = None) -> Stubber:
    stub = Stubber(batch._client)
    stub.add_response(question, answer, asked)
    return stub


def job(status: str, **more: Any) -> dict[str, Any]:
    described = {"jobName": NAME, "jobId": "7", "jobQueue": "gpus", "status": status,
                 "startedAt": 1, "jobDefinition": "emsam:3"}  # fmt: skip
    return {"jobs": [described | more]}


def test_a_job_asks_for_its_gpus_and_begins_again_only_when_its_machine_was_taken_away(
    batch: _Batch, tmp_path: Path
) -> None:
    run = RunDirectory(tmp_path / "ca1-neurites.v2")
    run.prepare(load_params(overrides=["train.accelerator=cuda"]), {"data": []})
    asked = {
        "jobName": NAME,
        "jobQueue": "gpus",
        "jobDefinition": "emsam:3",
        "containerOverrides": {
            "command": ["python", "-m", "emsam.launch.batch_job", ADDRESS],
            "environment": ANY,
            "resourceRequirements": [{"type": "GPU", "value": "4"}],
        },
        "retryStrategy": {
            "attempts": 5,
            "evaluateOnExit": [
                {"onStatusReason": "Host EC2*", "action": "RETRY"},
                {"onReason": "*", "action": "EXIT"},
            ],
        },
        "tags": {"emsam-run": run.name},
    }
    with answers(batch, "submit_job", {"jobName": NAME, "jobId": "7"}, asked):
        assert batch.submit(run, ADDRESS) == "7"


def test_a_job_that_waits_or_runs_is_found_and_one_that_ended_is_not(batch: _Batch) -> None:
    asked = {"jobQueue": "gpus", "filters": [{"name": "JOB_NAME", "values": [NAME]}]}
    ended = {"jobId": "1", "jobName": NAME, "status": "FAILED"}
    runs = {"jobId": "2", "jobName": NAME, "status": "RUNNABLE"}
    with answers(batch, "list_jobs", {"jobSummaryList": [ended, runs]}, asked):
        assert batch.find(ADDRESS) == "2"
    with answers(batch, "list_jobs", {"jobSummaryList": [ended]}, asked):
        assert batch.find(ADDRESS) is None


@pytest.mark.parametrize(
    ("code", "reason", "error", "line"),
    [
        (75, "Essential container in task exited", TrainingStopped, "stopped at step 0"),
        (1, "Essential container in task exited", TrainingFailed, "exit status 1"),
        (2, "Essential container in task exited", InputError, "exit status 2"),
        (None, "Host EC2 (instance i-0) terminated.", TrainingFailed, "Host EC2 (instance i-0)"),
        (None, "CannotPullContainerError: no such image", TrainingFailed, "no such image"),
    ],
)
def test_how_a_job_ended(
    batch: _Batch, tmp_path: Path, code: int | None, reason: str, error: type[Exception], line: str
) -> None:
    container = {} if code is None else {"exitCode": code}
    document = job("FAILED", statusReason=reason, attempts=[{"container": container}])
    with answers(batch, "describe_jobs", document, {"jobs": ["7"]}):
        state = batch.state("7")
    run = RunDirectory(tmp_path / "run")
    run.prepare(load_params(), {"data": []})
    with pytest.raises(error) as said:
        settle(run, state.code, "" if code else state.reason)
    assert line in str(said.value)


def test_a_job_that_batch_has_forgotten_failed(batch: _Batch) -> None:
    with answers(batch, "describe_jobs", {"jobs": []}):
        assert batch.state("7").status == "FAILED"
