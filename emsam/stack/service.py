"""A service of the stack: how it is started, asked whether it is well, and ended."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from emsam.services import RunningService


@dataclass(frozen=True)
class Service:
    """A service as it is to be started.

    Attributes
    ----------
    port, variable
        Where it listens, if it does, and the variable that moves it.
    more_ports
        Others that it needs, which move with ``port``.
    is_well
        Asks it, once it was started.
    pool
        Work pool that it serves, if it is a worker. Its runs outlive it.
    deadline
        Seconds that it may take from its start to its first answer.
    grace
        Seconds that it may take to stop.
    stop_signal
        With which it stops.
    user
        Account that it runs as; empty for our own.
    folder
        Where it runs; ``None`` for the current folder.
    prepare
        Command that has to succeed before it is started; empty for none.
    """

    name: str
    command: tuple[str, ...]
    environment: dict[str, str] = field(repr=False)
    url: str
    is_well: Callable[[RunningService], bool]
    port: int | None = None
    variable: str = ""
    deadline: float = 300.0
    grace: float = 15.0
    pool: str = ""
    more_ports: tuple[int, ...] = ()
    stop_signal: signal.Signals = signal.SIGTERM
    user: str = ""
    folder: Path | None = None
    prepare: tuple[str, ...] = ()


def python(module: str, *arguments: str) -> tuple[str, ...]:
    """Command that runs a module with this interpreter."""
    return (sys.executable, "-m", module, *arguments)
