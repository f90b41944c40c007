"""SIGTERM to the process group, at every moment of a job."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults.conftest import (
    Job,
    assert_goes_on,
    assert_settled,
    end_of,
    terminate,
    wait_for,
)
from tests.processes import processes_in

pytestmark = pytest.mark.slow

CANCELLED = ("CRASHED", "CANCELLED")
"""A worker that cancelled it calls it cancelled; a bare signal is a crash to Prefect."""


def test_before_the_first_step(job: Job) -> None:
    flow = job.fine_tune()
    job.wait_until("starting")
    terminate(flow)
    assert end_of(flow) != 0
    assert_settled(job, "stopped", flow=CANCELLED)
    assert job.status()["step"] == 0
    assert job.newest_step() == 0


@pytest.mark.parametrize(("fault", "step"), [("hold-step-12", 12), ("hold-checkpoint", 5)])
def test_in_mid_step_and_during_a_checkpoint(job: Job, whole: Job, fault: str, step: int) -> None:
    flow = job.fine_tune(FAULT=fault)
    job.wait_held()
    terminate(flow)
    job.release()
    assert end_of(flow) != 0
    assert_settled(job, "stopped", flow=CANCELLED)
    assert job.newest_step() == step
    assert_goes_on(job, whole)


def test_a_team_saves_together(make_job: Callable[..., Job]) -> None:
    job = make_job("train.steps=4000", EMSAM_DEVICES="2", EMSAM_CPU_SLOTS="2")
    flow = job.fine_tune()
    job.wait_until("running", step=2)
    terminate(flow)
    assert end_of(flow) != 0
    assert_settled(job, "stopped", flow=CANCELLED)
    assert job.newest_step() == job.status()["step"] >= 2


def test_a_trainer_that_ignores_sigterm_is_killed(make_job: Callable[..., Job]) -> None:
    job = make_job("train.steps=100000", EMSAM_GRACE_SECONDS="2")
    flow = job.fine_tune(FAULT="ignore-sigterm")
    job.wait_until("running", step=6)
    terminate(flow)
    assert end_of(flow) != 0
    assert_settled(job, "failed", flow=CANCELLED)
    assert job.status()["error"] == "it did not stop in time; killed"
    assert job.newest_step() >= 5


def test_a_job_whose_launcher_died_is_adopted_and_stopped_with_its_new_one(
    make_job: Callable[..., Job],
) -> None:
    job = make_job("train.steps=100000")
    first = job.start_train()
    trainer = job.wait_until("running", step=1)["pid"]
    first.kill()
    first.wait()
    second = job.start_train()
    said = "another process is training this run"
    wait_for(lambda: said in job.run().log_file.read_text(), "the second launcher")
    job.wait_until("running", step=job.status()["step"] + 50)
    assert job.status()["pid"] == trainer
    assert {each.pid for each in processes_in(job.lab.path)} == {trainer, second.pid}
    terminate(second)
    assert end_of(second) == 130
    assert job.status()["state"] == "stopped"
    assert not processes_in(job.lab.path)
