"""kill -9 of a trainer, of one process of a team; a torn checkpoint."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from emsam.processes import is_alive
from tests.faults.conftest import (
    Job,
    assert_goes_on,
    assert_settled,
    end_of,
    trainer_of,
    wait_for,
)
from tests.faults.test_team import assert_same_losses
from tests.processes import processes_in, words_of

pytestmark = pytest.mark.slow


def test_a_killed_trainer_fails_the_flow_and_a_torn_checkpoint_is_skipped(
    job: Job, whole: Job
) -> None:
    flow = job.fine_tune(FAULT="hold-step-13")
    job.wait_held()
    trainer_of(job).kill()
    assert end_of(flow) != 0
    assert_settled(job, "failed", flow=("FAILED",))
    assert job.status()["error"] == "killed by SIGKILL"
    assert "the same command goes on from step 10" in job.log()

    newest = job.run().require_checkpoint()
    os.truncate(newest / "trainer.pt", 100)
    assert job.newest_step() == 5
    assert_goes_on(job, whole)


def test_one_killed_process_ends_its_team_and_the_run_goes_on(
    make_job: Callable[..., Job], whole: Job
) -> None:
    job = make_job(EMSAM_DEVICES="2", EMSAM_CPU_SLOTS="2")
    flow = job.fine_tune(FAULT="hold-step-13")
    job.wait_held()
    agent = trainer_of(job)
    team = [each for each in agent.children() if "--agent" in words_of(each)]
    assert len(team) == 2
    next(each for each in team if each.environ()["RANK"] == "1").kill()
    job.release()
    assert end_of(flow) != 0
    assert_settled(job, "failed", flow=("FAILED",))
    assert job.status()["error"] == "process 1 of the team: killed by SIGKILL"
    assert "the same command goes on from step" in job.log()

    job.train()
    assert_same_losses(job, whole)


def test_no_process_of_a_team_outlives_its_agent(make_job: Callable[..., Job]) -> None:
    """kill -9 of everything that the launcher knows; torchrun's have sessions of their own."""
    job = make_job("train.steps=4000", EMSAM_DEVICES="2", EMSAM_CPU_SLOTS="2")
    flow = job.start_train()
    job.wait_until("running", step=1)
    team = trainer_of(job).children()
    os.killpg(flow.pid, signal.SIGKILL)
    flow.wait()
    assert len(team) == 2
    wait_for(lambda: not processes_in(job.lab.path), "the end of the team")
    assert not [each for each in team if is_alive(each)]
