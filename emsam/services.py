"""Which services of the local stack run: ``<home>/stack.json``, kept by ``emsam up``.

A process is known by its id and its start time, so that an id that went to another process later
is not taken for it. Reading asks no server.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from emsam.documents import write_whole
from emsam.processes import find_process


@dataclass(frozen=True)
class RunningService:
    """A service that was started.

    Attributes
    ----------
    pid, started
        Its process, which leads a session of its own, and when that started (Unix time).
    url
        Where it answers; empty for a worker.
    log
        File with all that it printed.
    ready
        Whether it has answered once.
    """

    pid: int
    started: float
    url: str
    log: str
    ready: bool = False

    def is_alive(self) -> bool:
        """Whether the process that was started is still there."""
        return find_process({"pid": self.pid, "pid_started": self.started}) is not None


@dataclass(frozen=True)
class StackState:
    """What ``emsam up`` remembers: services by name, and what was deployed to Prefect."""

    services: dict[str, RunningService] = field(default_factory=dict)
    deployed: str = ""


def read_state(home: Path) -> StackState:
    """The state that was written last; an empty one before the first ``emsam up``."""
    try:
        document: dict[str, Any] = json.loads((home / "stack.json").read_text())
    except FileNotFoundError:
        return StackState()
    services = {name: RunningService(**fields) for name, fields in document["services"].items()}
    return StackState(services, document["deployed"])


def write_state(home: Path, state: StackState) -> None:
    """Remember ``state``."""
    home.mkdir(parents=True, exist_ok=True)
    write_whole(home / "stack.json", json.dumps(asdict(state), indent=2) + "\n")


def address_of(name: str, home: Path) -> str:
    """URL of a service of the stack; empty unless it was started, has answered and is alive."""
    service = read_state(home).services.get(name)
    return service.url if service and service.ready and service.is_alive() else ""
