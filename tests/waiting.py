"""Waiting for what happens in other processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

PATIENCE = 300.0
"""Seconds after which a test gives up waiting; nothing is decided by it."""


def wait_for(happened: Callable[[], Any], what: str) -> Any:
    """Ask until the answer is true; returns it."""
    until = time.monotonic() + PATIENCE
    while not (answer := happened()):
        assert time.monotonic() < until, f"waited in vain for {what}"
        time.sleep(0.05)
    return answer
