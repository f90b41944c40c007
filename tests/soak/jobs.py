"""Pipeline runs as users ask for them: triggered, watched, and triggered again if they fail."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from emsam.data.synthetic import synthesize_volume
from emsam.errors import DiskFull, StackFailed
from emsam.params import Params, load_params
from emsam.stack.web import NotThere
from tests.conftest import TINY
from tests.soak.lab import SoakLab

TASKS = ("neurites", "mitochondria")
RUNS_OF_A_VOLUME = 5
"""Pipeline runs that share a volume; each new one is published, which S3 has to take."""
SMALLER = ("train.steps=16", "train.validate_every=8", "evaluate.resamples=100")
"""On top of the overrides of the tiny job."""
_ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


@dataclass
class Job:
    """One pipeline run that somebody wants.

    Attributes
    ----------
    flow_runs
        Ids of the flow runs that were triggered for it, the newest last.
    ends
        States of those that have ended, with what Prefect says of them.
    """

    number: int
    params: Params
    flow_runs: list[str] = field(default_factory=list)
    ends: list[tuple[str, str]] = field(default_factory=list)

    @property
    def is_done(self) -> bool:
        return bool(self.ends) and self.ends[-1][0] == "COMPLETED"

    @property
    def is_under_way(self) -> bool:
        return len(self.flow_runs) > len(self.ends)


def make_job(number: int, lab: SoakLab) -> Job:
    """The job of that number: a seed of its own, one of two tasks, a volume of a few."""
    task = TASKS[number % len(TASKS)]
    name = f"tiny{number // RUNS_OF_A_VOLUME}"
    volume = lab.settings.volume_path(name)
    if not volume.exists():
        synthesize_volume(name, volume, shape=(10, 64, 64), seed=number)
    overrides = [*TINY, *SMALLER, f"data.name={name}", f"task={task}", f"seed={number}"]
    return Job(number, load_params(overrides=overrides))


@dataclass
class Office:
    """Triggers jobs and follows them.

    Attributes
    ----------
    jobs
        All that were begun.
    lost
        Flow runs that Prefect's server does not know any more.
    """

    lab: SoakLab
    parallel: int
    jobs: list[Job] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    @property
    def under_way(self) -> list[Job]:
        return [job for job in self.jobs if job.is_under_way]

    @property
    def unfinished(self) -> list[Job]:
        return [job for job in self.jobs if not job.is_done]

    def feed(self, wanted: int) -> None:
        """One look: what has ended, what failed and is tried again, what is new up to a number."""
        for job in self.under_way:
            self._look(job)
        waiting = [job for job in self.unfinished if not job.is_under_way]
        # one that failed is not tried before the others: its user comes back later
        waiting.sort(key=lambda job: len(job.flow_runs))
        while len(self.under_way) < self.parallel:
            if len(self.jobs) < wanted:
                try:
                    self.jobs.append(make_job(len(self.jobs), self.lab))
                except (OSError, DiskFull):  # later
                    return
                waiting.insert(0, self.jobs[-1])
            if not waiting or not self._trigger(waiting.pop(0)):
                return

    def settle(self, until: float) -> None:
        """Bring every job to its end, or give up at ``until``."""
        while self.unfinished and time.monotonic() < until:
            self.feed(0)
            time.sleep(1)

    def _look(self, job: Job) -> None:
        try:
            run = self.lab.ask("GET", f"/flow_runs/{job.flow_runs[-1]}")
        except NotThere:
            self.lost.append(job.flow_runs[-1])
            job.ends.append(("LOST", "Prefect does not know it"))
        except (StackFailed, OSError):
            return
        else:
            if run["state_type"] in _ENDED:
                said = str((run["state"] or {}).get("message") or "")
                job.ends.append((run["state_type"], said[:400]))

    def _trigger(self, job: Job) -> bool:
        """What ``prefect deployment run`` does; whether the server took it."""
        document: dict[str, Any] = {"parameters": {"params": job.params.model_dump(mode="json")}}
        with suppress(StackFailed, NotThere, OSError):
            found = self.lab.ask("GET", "/deployments/name/pipeline/cpu")
            path = f"/deployments/{found['id']}/create_flow_run"
            job.flow_runs.append(str(self.lab.ask("POST", path, document)["id"]))
            return True
        return False
