from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from emsam.errors import InputError
from emsam.launch.jobs import describe_job, list_jobs, stop_job
from emsam.params import Params
from emsam.processes import find_process, identify
from emsam.settings import Settings
from emsam.train.run_directory import RunDirectory

INPUTS = {"data": [{"name": "demo", "digest": "abc.dir", "path": "data/demo/volume.zarr"}]}
STUBBORN = (
    "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(600)"
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(runs_root=tmp_path, grace_seconds=0.5, heartbeat_seconds=900)


def make_run(settings: Settings, name: str, **status: Any) -> RunDirectory:
    run = RunDirectory(settings.runs_root / name)
    run.prepare(Params(), INPUTS)
    run.write_status(**{"state": "running", "step": 3, "host": socket.gethostname()} | status)
    return run


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    """A process that ignores SIGTERM."""
    process = subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()


def test_running_jobs_come_first_then_the_newest_ones(settings: Settings) -> None:
    me = identify(os.getpid())
    make_run(settings, "busy", fraction=0.25, seconds=30.0, metrics={"train/loss": 0.5}, **me)
    for name in ("old", "newer", "newest"):
        make_run(settings, name, state="done")
    jobs = list_jobs(settings, 2)
    assert [job.id for job in jobs] == ["busy", "newest", "newer"]
    assert (jobs[0].seconds_left, jobs[0].loss, jobs[0].step) == (90, 0.5, 3)
    assert jobs[1].seconds_left is None


def test_a_job_whose_process_is_gone_was_killed(
    settings: Settings, other: subprocess.Popen[bytes]
) -> None:
    make_run(settings, "one", **identify(other.pid))
    assert [job.state for job in list_jobs(settings, 9)] == ["running"]
    other.kill()
    other.wait()
    assert [job.state for job in list_jobs(settings, 9)] == ["killed"]
    with pytest.raises(InputError, match="nobody trains it now"):
        stop_job("one", settings)


def test_a_pid_that_is_somebody_else_s_by_now_is_left_alone(
    settings: Settings, other: subprocess.Popen[bytes]
) -> None:
    status = identify(other.pid)
    make_run(settings, "one", **status | {"pid_started": status["pid_started"] - 60})
    assert [job.state for job in list_jobs(settings, 9)] == ["killed"]
    with pytest.raises(InputError):
        stop_job("one", settings)
    assert other.poll() is None


def test_a_job_of_another_host_is_shown_and_not_touched(settings: Settings) -> None:
    make_run(settings, "far", host="elsewhere", **identify(os.getpid()))
    assert [(job.state, job.host) for job in list_jobs(settings, 9)] == [("running", "elsewhere")]
    with pytest.raises(InputError, match="is trained on elsewhere"):
        stop_job("far", settings)


def test_who_ignores_the_request_is_killed_and_the_status_says_so(
    settings: Settings, other: subprocess.Popen[bytes]
) -> None:
    run = make_run(settings, "one", **identify(other.pid))
    stopped = stop_job(str(run.path), settings)
    assert find_process(run.status()) is None
    assert (stopped.state, stopped.note) == ("failed", "it did not stop in time; killed")


def test_an_unknown_job_is_bad_input(settings: Settings) -> None:
    with pytest.raises(InputError, match="nothing"):
        stop_job("nothing", settings)


@pytest.mark.parametrize(
    "said", ['"fraction": "done"', '"heartbeat": [1]', '"metrics": 3', '"state": []', '"step": "x"']
)
def test_a_status_that_no_trainer_wrote_is_named(settings: Settings, said: str) -> None:
    run = make_run(settings, "odd")
    make_run(settings, "sound")
    run.status_file.write_text(f'{{"state": "done", "step": 1, "seconds": 1, {said}}}')
    with pytest.raises(InputError, match=str(run.status_file)):
        describe_job(run, settings)
    found = {job.id: job for job in list_jobs(settings, 5)}
    assert found.keys() == {"odd", "sound"}
    assert found["odd"].state == "damaged"
    assert found["sound"].state != "damaged"
    assert str(run.status_file) in found["odd"].note


@pytest.mark.parametrize("pid", [-1, 1 << 80, "1", None])
def test_a_process_that_cannot_be_is_none(pid: object) -> None:
    assert find_process({"pid": pid, "pid_started": 1.0}) is None
