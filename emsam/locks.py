"""Locks of files: the kernel's, and one that says who holds it, on this machine or another."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

_POLL = 0.2


@contextmanager
def try_lock(path: Path) -> Iterator[bool]:
    """Hold the lock of a file for this process; yields ``False`` if another one holds it.

    The kernel frees the lock when its holder dies, however it dies. The file stays.
    """
    with path.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


@contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Hold the lock of a file for this process; waits while another one holds it."""
    with path.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def owned_lock(
    path: Path, wait: float = 0.0, told: Callable[[str], None] = lambda holder: None
) -> Iterator[tuple[IO[str], str]]:
    """Hold the lock of a file, which names its holder; yields its handle and who has it instead.

    The kernel frees the lock when its holder dies, so on one machine no lock is stale and a
    living one is never taken. Other machines may share the folder without sharing the kernel's
    locks: there the name in the file counts, which a holder that was killed leaves behind.

    Parameters
    ----------
    wait
        Seconds to wait for another holder.
    told
        Called once with who it is that is waited for.

    Yields
    ------
    tuple
        The second is empty if the lock is ours, else ``"process 17 on lab-3"``.
    """
    until = time.monotonic() + wait
    waiting = False
    while True:
        with _open(path) as handle:
            holder = _take(handle)
            if holder and time.monotonic() < until:
                if not waiting:
                    told(holder)
                waiting = True
            elif not holder and not _is_same_file(path, handle):
                pass  # the holder before removed it while we waited
            else:
                try:
                    yield handle, holder
                finally:
                    if not holder:
                        handle.truncate(0)
                return
        time.sleep(_POLL)


def _open(path: Path) -> IO[str]:
    """Open a lock's file; another holder may remove its folder at any moment."""
    for _ in range(20):
        with suppress(FileNotFoundError, FileExistsError):
            path.parent.mkdir(exist_ok=True)
            return path.open("a+")
    path.parent.mkdir(exist_ok=True)
    return path.open("a+")


def _take(handle: IO[str]) -> str:
    """Who holds the lock, or nothing: it is ours and says so."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        free = True
    except BlockingIOError:
        free = False
    handle.seek(0)
    pid, _, host = handle.read().strip().partition(" ")
    if host and (not free or host != socket.gethostname()):
        return f"process {pid} on {host}"
    if not free:
        return "another process"
    handle.truncate(0)
    handle.write(f"{os.getpid()} {socket.gethostname()}\n")
    handle.flush()
    return ""


def _is_same_file(path: Path, handle: IO[str]) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(handle.fileno()))
    except FileNotFoundError:
        return False
