from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from emsam.launch import watchdog
from emsam.launch.watchdog import Watchdog
from emsam.settings import Settings
from emsam.train.run_directory import RunDirectory


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The launcher's clock, for a test to turn."""
    time = [1000.0]
    monkeypatch.setattr(watchdog.time, "monotonic", lambda: time[0])
    return time


def test_each_change_is_told_once(run: RunDirectory) -> None:
    seen: list[Any] = []
    watch = Watchdog(run, Settings(), seen.append)
    assert not watch.look()
    run.write_status(state="running", step=1)
    assert not watch.look()
    assert not watch.look()
    assert [status["step"] for status in seen] == [1]


def test_an_old_heartbeat_ends_a_job_whatever_the_clock_of_its_host_says(
    run: RunDirectory, now: list[float]
) -> None:
    watch = Watchdog(run, Settings(heartbeat_seconds=100))
    for heartbeat in (5e9, 7.0):
        run.status_file.write_text(f'{{"state": "running", "heartbeat": {heartbeat}}}')
        now[0] += 99
        assert not watch.look()
    now[0] += 101
    assert watch.look()
    assert watch.reason == "no heartbeat for 100 s"


def test_a_start_has_five_minutes_however_short_the_limit(
    run: RunDirectory, now: list[float]
) -> None:
    watch = Watchdog(run, Settings(heartbeat_seconds=2))
    run.write_status(state="starting", step=0)
    watch.look()
    now[0] += 299
    assert not watch.look()
    now[0] += 2
    assert watch.look()


def test_the_deadline_counts_training_not_waiting(run: RunDirectory, now: list[float]) -> None:
    watch = Watchdog(run, Settings(deadline_minutes=1))
    for state, seconds, late in (
        ("waiting", 500, False),
        ("running", 59, False),
        ("running", 2, True),
    ):
        run.write_status(state=state, step=1)
        watch.look()
        now[0] += seconds
        run.write_status(state=state, step=1)
        assert watch.look() is late
    assert watch.reason == "its deadline of 1 minutes"
