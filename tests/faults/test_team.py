"""Several processes train as one does: on one host, and on two."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.faults.conftest import Job, end_of
from tests.ports import free_port

pytestmark = pytest.mark.slow


def assert_same_losses(job: Job, whole: Job) -> None:
    assert [step for step, _ in job.losses()] == [step for step, _ in whole.losses()]
    for (_, ours), (_, theirs) in zip(job.losses(), whole.losses(), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-4)


def test_two_processes_have_the_losses_of_one_with_twice_the_batch(
    make_job: Callable[..., Job], whole: Job
) -> None:
    """A network with batch norm, a loss with Dice: neither is a mean over samples."""
    job = make_job(EMSAM_DEVICES="2", EMSAM_CPU_SLOTS="2")
    job.train()
    assert_same_losses(job, whole)
    assert job.run().name == whole.run().name  # devices are no part of what a run is


def test_two_hosts_train_one_run(make_job: Callable[..., Job], whole: Job) -> None:
    job = make_job()
    prepared = job.path / "runs" / whole.run().name
    prepared.mkdir(parents=True)
    for name in ("params.yaml", "inputs.json"):
        shutil.copy(whole.run().path / name, prepared)
    place = f"127.0.0.1:{free_port()}"
    hosts = [start_host(job, number, place) for number in (0, 1)]
    assert [end_of(host) for host in hosts] == [0, 0], job.log()
    assert job.status()["state"] == "done"
    assert_same_losses(job, whole)


def test_a_team_ends_whatever_is_left_of_it(make_job: Callable[..., Job]) -> None:
    """torch may wait for gloo's threads for ever, once in about a hundred runs."""
    job = make_job(EMSAM_DEVICES="2", EMSAM_CPU_SLOTS="2", FAULT="hold-teardown")
    assert end_of(job.start_train()) == 0, job.log()
    assert job.status()["state"] == "done"
    assert not (job.path / "held").exists()


def start_host(job: Job, number: int, place: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "emsam.train", str(job.run().path),
               "--nodes", "2", "--node-rank", str(number), "--rendezvous", place]  # fmt: skip
    return job.start(command)


def test_a_batch_that_cannot_be_shared_is_refused(make_job: Callable[..., Job]) -> None:
    job = make_job("train.batch_size=3", EMSAM_DEVICES="2", EMSAM_CPU_SLOTS="2")
    assert "train.batch_size = 3" in job.train(status=2)
    job = make_job(EMSAM_DEVICES="2")
    assert "this host has 1 slots (cpu-0)" in job.train(status=2)
    assert not (job.path / "runs").exists()
