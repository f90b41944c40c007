"""Processes by pid and start time: a pid alone may be somebody else's by now."""

from __future__ import annotations

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
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except (KeyError, TypeError, ValueError, OverflowError, psutil.Error):
        return None
