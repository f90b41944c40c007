"""Processes by pid and start time: a pid alone may be somebody else's by now."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import psutil

CLOCK = 2.0
"""Seconds by which two readings of one process's start may differ."""


def identify(pid: int) -> dict[str, Any]:
    """``pid`` and ``pid_started`` (seconds since 1970), as ``status.json`` keeps them."""
    return {"pid": pid, "pid_started": psutil.Process(pid).create_time()}


def find_process(identity: dict[str, Any]) -> psutil.Process | None:
    """The process that :func:`identify` told, if it still works."""
    try:
        process = psutil.Process(identity["pid"])
        same = abs(process.create_time() - identity["pid_started"]) < CLOCK
        return process if same and is_alive(process) else None
    except (KeyError, TypeError, ValueError, OverflowError, psutil.Error):
        return None


def is_alive(process: psutil.Process) -> bool:
    """Whether a process is there; a dead one that nobody has waited for is not."""
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def with_children(process: psutil.Process) -> list[psutil.Process]:
    """A process and all that it started; nothing of one that ends while it is asked."""
    with suppress(psutil.NoSuchProcess):
        return [process, *process.children(recursive=True)]
    return []
