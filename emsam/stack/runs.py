"""Flow runs beside the processes that work on them: those that died, those that are to stop."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime

import psutil

from emsam.errors import InputError
from emsam.processes import CLOCK, is_alive, with_children
from emsam.stack.prefect_api import FlowRun, PrefectApi
from emsam.stack.process import end

_ENDED = {"COMPLETED": "COMPLETED", "FAILED": "FAILED", "CANCELLED": "CANCELLED"}
"""What becomes of a run whose parent ended so; of any other it has crashed."""
CANCEL_IN = 75.0
"""Seconds for a trainer's checkpoint and for Prefect, which kills after 30."""


def process_of(run: FlowRun) -> int | None:
    """Id of the process of a run, if it is (or was) on this machine."""
    host, colon, number = run.place.rpartition(":")
    if not colon:
        host = run.worker.rpartition("-")[0]
    return int(number) if host == socket.gethostname() and number.isdigit() else None


def is_dead(run: FlowRun) -> bool:
    """Whether a run has a process on this machine, which is gone."""
    pid = process_of(run)
    return pid is not None and _live_process(run, pid) is None


def _live_process(run: FlowRun, pid: int) -> psutil.Process | None:
    """The process of a run; not one that came to the same id after the run had begun."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        late = run.started is not None and process.create_time() > run.started + CLOCK
        if not late and is_alive(process):
            return process
    return None


def reconcile(api: PrefectApi) -> list[tuple[str, str]]:
    """Give runs whose process died, and what ran inside them, the state that they are in.

    Returns
    -------
    list of tuple of str
        Name of each run that was changed, and what became of it.
    """
    changed = []
    for run in api.active_runs():
        if is_dead(run):
            cancelled = run.state == "CANCELLING"
            state = "CANCELLED" if cancelled else "CRASHED"
            api.set_state(run, state, f"process {run.place} is gone")
            changed.append((run.name, f"{state.lower()}, process {run.place} is gone"))
    while children := [run for run in api.active_runs() if run.parent and _is_orphan(api, run)]:
        for run in children:
            state = _ENDED.get(api.parent_state(run), "CRASHED")
            api.set_state(run, state, "the run around it has ended")
            changed.append((run.name, f"{state.lower()}, as the run around it"))
    return changed


def _is_orphan(api: PrefectApi, run: FlowRun) -> bool:
    return api.parent_state(run) not in ("SCHEDULED", "PENDING", "RUNNING", "PAUSED", "CANCELLING")


def release_taken(api: PrefectApi, pool: str) -> list[str]:
    """Put runs back into the queue that a worker took and did not start before it died.

    Only to be called while the pool has no worker on any machine.
    """
    now = datetime.now(UTC).isoformat()
    taken = [run for run in api.active_runs() if run.state == "PENDING" and run.pool == pool]
    lost = [run for run in taken if not run.place and not run.parent]
    for run in lost:
        api.set_state(run, "SCHEDULED", "its worker died before it began", scheduled=now)
    return [f"{run.name}: scheduled again, its worker died before it began" for run in lost]


def cancel_runs(api: PrefectApi, workers: Sequence[str]) -> list[str]:
    """Cancel the runs of these workers and wait until their processes have ended.

    Raises
    ------
    InputError
        A run was started by hand on this machine: whoever started it has to stop it.
    """
    mine = [run for run in api.active_runs() if not run.parent]
    by_hand = [run for run in mine if not run.worker and process_of(run) and not is_dead(run)]
    if by_hand:
        raise InputError(
            f"{by_hand[0].name} runs in process {process_of(by_hand[0])}, started by "
            "hand; let it end or press Ctrl-C there, then run 'emsam down' again"
        )
    cancelled = [run for run in mine if run.worker in workers and run.place]
    for run in cancelled:
        api.set_state(run, "CANCELLING", "the stack is going down", force=False)
    until = time.monotonic() + CANCEL_IN
    while any(not is_dead(run) for run in cancelled) and time.monotonic() < until:
        time.sleep(0.5)
    for run in cancelled:  # a run whose worker was killed has nobody else to stop it
        pid = process_of(run)
        process = _live_process(run, pid) if pid is not None else None
        if process is not None:
            end(with_children(process), CANCEL_IN)
    return [f"{run.name}: cancelled" for run in cancelled]
