"""Waiting for what happens in other processes."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from emsam.stack.web import answers

PATIENCE = 300.0
"""Seconds after which a test gives up waiting; nothing is decided by it."""


def wait_for(happened: Callable[[], Any], what: str) -> Any:
    """Ask until the answer is true; returns it."""
    until = time.monotonic() + PATIENCE
    while not (answer := happened()):
        assert time.monotonic() < until, f"waited in vain for {what}"
        time.sleep(0.05)
    return answer


def wait_until_served(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    """Ask until a server answers; fails with its log where it ends before."""

    def answered() -> bool:
        assert server.poll() is None, log.read_text()
        return answers(url)

    wait_for(answered, f"{url}, see {log}")
