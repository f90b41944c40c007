"""A trainer that hangs, a deadline, a full disk."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import Job, assert_goes_on, assert_settled, end_of, trainer_of

pytestmark = pytest.mark.slow

LEFT = 24 << 10
"""Bytes left on the full disk: enough for a line, too few for a checkpoint."""


def test_a_trainer_that_hangs_is_killed_and_the_run_can_go_on(
    make_job: Callable[..., Job], whole: Job
) -> None:
    job = make_job(EMSAM_HEARTBEAT_SECONDS="12", EMSAM_GRACE_SECONDS="1")
    flow = job.fine_tune(FAULT="hold-step-7")
    job.wait_held()
    trainer_of(job).suspend()
    assert end_of(flow) != 0
    assert_settled(job, "failed", flow=("FAILED",))
    assert job.status()["error"] == "no heartbeat for 12 s; killed by SIGKILL"
    assert "the same command goes on from step 5" in job.log()
    assert_goes_on(job, whole)


def test_at_its_deadline_a_job_stops_at_a_checkpoint(make_job: Callable[..., Job]) -> None:
    job = make_job("train.steps=100000", EMSAM_DEADLINE_MINUTES="0.03")
    flow = job.fine_tune()
    assert end_of(flow) != 0
    assert_settled(job, "stopped", flow=("FAILED",))
    assert "(its deadline of 0.03 minutes); run the same command again" in job.log()
    assert job.newest_step() == job.status()["step"] > 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here; run the tests as root")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_full_disk_during_a_checkpoint(
    make_job: Callable[..., Job], small_disk: Path, whole: Job
) -> None:
    job = make_job(EMSAM_SYNC_SECONDS="600")  # no sync meets the full disk but the last
    (job.path / "runs").symlink_to(small_disk)
    flow = job.fine_tune(FAULT="hold-step-8")
    job.wait_held()
    filler = small_disk / "filler"
    filler.write_bytes(b"0" * (shutil.disk_usage(small_disk).free - LEFT))
    job.release()
    assert end_of(flow) != 0
    filler.unlink()
    assert_settled(job, "failed", flow=("FAILED",))
    assert "no space left for the checkpoint of step 10" in job.status()["error"]
    assert "the same command goes on from step 5" in job.log()
    assert job.newest_step() == 5
    assert not list((job.run().path / "checkpoints").glob(".*"))
    assert_goes_on(job, whole)
