"""One slot, several jobs; ``emsam jobs`` shows them and stops them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.faults.conftest import Job, assert_settled, end_of, slots_in_use

pytestmark = pytest.mark.slow

LONG = "train.steps=100000"


def test_a_second_job_waits_for_the_slot_then_runs(make_job: Callable[..., Job]) -> None:
    first, second = make_job(LONG), make_job(LONG, "seed=1")
    one = first.fine_tune()
    first.wait_until("running", step=2)
    two = second.fine_tune()
    waiting = second.wait_until("waiting")
    assert "waiting for 1 free slots of" in waiting["note"]
    assert slots_in_use(first.lab) == 1

    running = row(first)
    assert (running["state"], running["slots"]) == ("running", ["cpu-0"])
    assert running["steps"] == 100000
    assert running["step"] >= 2
    assert running["loss"] > 0
    assert running["steps_per_second"] > 0
    assert running["seconds_left"] > 0
    assert row(second)["state"] == "waiting"
    assert not (second.run().path / "metrics.jsonl").exists()

    stopped = json.loads(first.emsam("jobs", "stop", running["id"], "--json").stdout)
    assert stopped["state"] == "stopped"
    assert end_of(one) != 0
    assert "run the same command again to go on" in first.log()
    second.wait_until("running", step=2)
    second.emsam("jobs", "stop", second.run().name)
    assert end_of(two) != 0
    for job in (second, first):
        assert_settled(job, "stopped", flow=("FAILED",))
        assert row(job)["state"] == "stopped"
    refused = first.emsam("jobs", "stop", running["id"], status=2)
    assert "nobody trains it now (state stopped)" in refused.stderr


def test_without_prefect_the_file_lock_makes_a_job_wait(make_job: Callable[..., Job]) -> None:
    first, second = make_job(LONG), make_job(LONG, "seed=1")
    one = first.start_train()
    first.wait_until("running", step=2)
    two = second.start_train()
    note = second.wait_until("waiting")["note"]
    assert note == f"no free slot: cpu-0 is held by {first.run().path}"
    second.emsam("jobs", "stop", second.run().name)  # also while it waits
    assert end_of(two) == 75
    two = second.start_train()
    second.wait_until("waiting")
    first.emsam("jobs", "stop", str(first.run().path))
    assert end_of(one) == 75
    second.wait_until("running", step=2)
    second.emsam("jobs", "stop", second.run().name)
    assert end_of(two) == 75


def row(job: Job) -> dict[str, Any]:
    """What ``emsam jobs`` says of the job."""
    (found,) = json.loads(job.emsam("jobs", "--json").stdout)
    return dict(found)
