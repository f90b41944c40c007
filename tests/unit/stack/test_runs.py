"""What becomes of flow runs whose process is gone, judged from what Prefect's server says."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from emsam.errors import InputError
from emsam.stack.prefect_api import FlowRun, PrefectApi
from emsam.stack.runs import cancel_runs, reconcile, release_taken

HOST = socket.gethostname()
NOBODY = 2**22 + 7
"""Above the largest process id of Linux."""


class Server(PrefectApi):
    """Prefect's server as far as runs go, in memory."""

    def __init__(self, *runs: FlowRun, parents: dict[str, str] | None = None) -> None:
        super().__init__("http://nowhere/api")
        self.runs = {run.id: run for run in runs}
        self.states: dict[str, str] = {}
        self.parents = parents or {}

    def active_runs(self) -> list[FlowRun]:
        return [run for run in self.runs.values() if run.id not in self.states]

    def set_state(self, run: FlowRun, state: str, message: str, **_: Any) -> None:
        self.states[run.id] = state

    def parent_state(self, run: FlowRun) -> str:
        parent = self.parents.get(run.parent, "")
        return self.states.get(parent, self.runs[parent].state) if parent else ""


def run_of(id: str, place: object = "", **changes: Any) -> FlowRun:
    fields: dict[str, Any] = {
        "name": id, "state": "RUNNING", "worker": f"{HOST}-gpu", "parent": "", "pool": "gpu",
        "started": time.time(),
    }  # fmt: skip
    return FlowRun(id=id, place=str(place), **fields | changes)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait()


def test_a_run_whose_process_died_has_crashed_and_what_ran_in_it_too() -> None:
    inner = run_of("inner", worker="", parent="task")
    server = Server(run_of("outer", NOBODY), inner, parents={"task": "outer"})
    assert len(reconcile(server)) == 2
    assert server.states == {"outer": "CRASHED", "inner": "CRASHED"}


def test_a_run_that_was_being_cancelled_is_cancelled() -> None:
    server = Server(run_of("run", NOBODY, state="CANCELLING"))
    reconcile(server)
    assert server.states == {"run": "CANCELLED"}


def test_runs_that_live_or_are_elsewhere_are_left_alone(sleeper: subprocess.Popen[bytes]) -> None:
    server = Server(
        run_of("here", sleeper.pid),
        run_of("by-hand", f"{HOST}:{sleeper.pid}", worker=""),
        run_of("elsewhere", NOBODY, worker="other-gpu"),
        run_of("unknown", "", worker=""),
    )
    assert reconcile(server) == []


def test_a_process_that_came_to_the_same_id_later_is_not_the_run(
    sleeper: subprocess.Popen[bytes],
) -> None:
    server = Server(run_of("run", sleeper.pid, started=time.time() - 3600))
    reconcile(server)
    assert server.states == {"run": "CRASHED"}


def test_what_a_dead_worker_took_and_did_not_start_is_queued_again() -> None:
    server = Server(run_of("taken", state="PENDING"), run_of("other", state="PENDING", pool="cpu"))
    release_taken(server, "gpu")
    assert server.states == {"taken": "SCHEDULED"}


def test_cancelling_ends_the_process_where_no_worker_does(
    sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emsam.stack.runs.CANCEL_IN", 0.5)
    cancel_runs(Server(run_of("run", sleeper.pid)), [f"{HOST}-gpu"])
    assert psutil.Process(sleeper.pid).status() == psutil.STATUS_ZOMBIE


def test_a_flow_in_somebodys_terminal_is_not_stopped(sleeper: subprocess.Popen[bytes]) -> None:
    server = Server(run_of("pipeline", f"{HOST}:{sleeper.pid}", worker=""))
    with pytest.raises(InputError, match=f"process {sleeper.pid}.*Ctrl-C"):
        cancel_runs(server, [f"{HOST}-gpu"])
    assert server.states == {}
