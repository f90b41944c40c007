"""Jobs as their run directories tell them: what runs, how far, where; and how to stop one."""

from __future__ import annotations

import math
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emsam.errors import InputError, one_line
from emsam.launch.batch import stop_on_batch
from emsam.launch.trainer import end_recorded
from emsam.processes import find_process
from emsam.settings import Settings
from emsam.train.run_directory import ACTIVE, FAILED, STOPPED, WAITING, RunDirectory

KILLED, HANGS, DAMAGED = "killed", "hangs", "damaged"
"""States that a trainer cannot write itself."""


@dataclass(frozen=True)
class Job:
    """One row of ``emsam jobs``."""

    id: str
    run: str
    state: str
    slots: list[str]
    host: str
    pid: int | None
    step: int
    steps: int | None
    fraction: float
    steps_per_second: float
    seconds_left: float | None
    loss: float | None
    heartbeat_age: float | None
    note: str


def list_jobs(settings: Settings, count: int) -> list[Job]:
    """Running jobs, then the ``count`` that ended last, of the run directories in ``runs_root``.

    One whose status cannot be read is :data:`DAMAGED`, and hides no other.
    """
    runs = [RunDirectory(path.parent) for path in settings.runs_root.glob("*/status.json")]
    now = time.time()  # ages of different moments would not sort
    jobs = sorted(
        (_readable(run, settings, now) for run in runs),
        key=lambda job: math.inf if job.heartbeat_age is None else job.heartbeat_age,
    )
    active = [job for job in jobs if job.state in (*ACTIVE, HANGS, DAMAGED)]
    return active + [job for job in jobs if job not in active][:count]


def describe_job(run: RunDirectory, settings: Settings, now: float | None = None) -> Job:
    """What a run's status says at ``now``, and whether its process still lives.

    Raises
    ------
    InputError
        A status that no trainer of ours wrote.
    """
    try:
        return _describe(run, run.status(), settings, now or time.time())
    except InputError:
        raise
    except (TypeError, ValueError, KeyError, AttributeError, ArithmeticError) as error:
        raise InputError(
            f"{run.status_file}: damaged ({one_line(error)}); remove it, or copy the run again"
        ) from None


def _readable(run: RunDirectory, settings: Settings, now: float) -> Job:
    try:
        return describe_job(run, settings, now)
    except InputError as error:
        return Job(
            id=run.name, run=str(run.path), state=DAMAGED, slots=[], host="", pid=None, step=0,
            steps=None, fraction=0.0, steps_per_second=0.0, seconds_left=None, loss=None,
            heartbeat_age=None, note=str(error),
        )  # fmt: skip


def _describe(run: RunDirectory, status: dict[str, Any], settings: Settings, now: float) -> Job:
    heartbeat = status.get("heartbeat")
    age = None if heartbeat is None else max(0.0, now - heartbeat)
    state = _state(status, age, settings)
    return Job(
        id=run.name,
        run=str(run.path),
        state=state,
        slots=status.get("slots") or [],
        host=status.get("host", ""),
        pid=status.get("pid"),
        step=status["step"],
        steps=status.get("steps"),
        fraction=min(1.0, max(0.0, float(status.get("fraction") or 0.0))),
        steps_per_second=status.get("steps_per_second", 0.0),
        seconds_left=seconds_left(status) if state in ACTIVE else None,
        loss=status.get("metrics", {}).get("train/loss"),
        heartbeat_age=age,
        note=" ".join(str(status.get("error") or status.get("note") or "").split()),
    )


def seconds_left(status: dict[str, Any]) -> float | None:
    """Time that a run's budget will still take, as fast as it was."""
    used = status.get("fraction")
    return status["seconds"] * (1 - used) / used if used else None


def stop_job(name: str, settings: Settings) -> Job:
    """End the process that trains a run; it saves first. Waits until it is gone.

    Parameters
    ----------
    name
        Of a run in ``runs_root``, or a run directory.

    Raises
    ------
    InputError
        No such run, or nobody trains it on this host.
    """
    run = RunDirectory(settings.runs_root / name)
    if not run.exists():
        run = RunDirectory(Path(name)).require()
    status = run.status()
    state = status["state"]
    if state in ACTIVE and status.get("batch_job"):
        stop_on_batch(run, settings)
        return describe_job(run, settings)
    if state in ACTIVE and status.get("host", socket.gethostname()) != socket.gethostname():
        raise InputError(f"{run.path}: is trained on {status['host']}; stop it there")
    if state not in ACTIVE or find_process(status) is None:
        raise InputError(f"{run.path}: nobody trains it now (state {state}); see 'emsam jobs'")
    end_recorded(run, settings.grace_seconds)
    return describe_job(run, settings)


def settle_killed(run: RunDirectory, settings: Settings) -> bool:
    """Write the state of a run whose process was killed with nobody left to say so.

    Returns
    -------
    bool
        Whether there was something to write; never while a process works for the run.
    """
    with run.lock() as free:
        if not free or describe_job(run, settings).state != KILLED:
            return False
        if run.status()["state"] == WAITING:
            run.update_status(state=STOPPED, slots=[], note=None)
        else:
            run.update_status(state=FAILED, slots=[], error="its process was killed")
    return True


def _state(status: dict[str, Any], age: float | None, settings: Settings) -> str:
    """The state that is written, unless its process cannot write any more."""
    state = str(status["state"])
    here = status.get("host", socket.gethostname()) == socket.gethostname()
    if state not in ACTIVE:
        return state
    if here and find_process(status) is None:
        return KILLED
    return HANGS if age is not None and age > settings.heartbeat_seconds else state
