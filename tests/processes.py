"""Processes of a laboratory, any of which may end while one looks at it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil

from emsam.processes import is_alive


def processes_in(folder: Path) -> list[psutil.Process]:
    """Every live process that works in a folder or below it."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if Path(process.cwd()).is_relative_to(folder) and is_alive(process):
                found.append(process)
    return found


def words_of(process: psutil.Process) -> list[str]:
    """Its command line; nothing of one that has ended."""
    with suppress(psutil.Error):
        return process.cmdline()
    return []


def listening_elsewhere(process: psutil.Process) -> list[str]:
    """Addresses that it listens on and that other machines can reach."""
    with suppress(psutil.NoSuchProcess):
        return [
            connection.laddr.ip
            for connection in process.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN and connection.laddr.ip != "127.0.0.1"
        ]
    return []


def kill_all(processes: list[psutil.Process]) -> None:
    """kill -9 to each that is still there."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
