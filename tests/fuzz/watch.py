"""What a reader may not do while it reads: run code, write or read elsewhere, take much memory."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MOST_MEMORY = 400 << 20
"""Bytes that a case may add to the memory of its process; slices and chunks are 16 MB at most."""
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_METADATA = (".json", ".zarray", ".zattrs", ".zgroup")
_CHANGES = {"os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.chmod",
            "os.chown", "os.truncate", "os.utime"}  # fmt: skip
_RUNS = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty",
         "pickle.find_class", "socket.connect", "os.startfile", "pty.spawn"}  # fmt: skip


class Watch:
    """Sees through Python's audit hooks what is done between :meth:`armed` and its end.

    Parameters
    ----------
    room
        Folder of the case; ``out`` alone may be written to.
    follows
        Links of the user's own may be followed; else nothing in ``outside`` may be read.
    """

    def __init__(self, room: Path, *, follows: bool) -> None:
        self._room, self._follows = os.path.realpath(room), follows
        self._armed = False
        self.seen: list[str] = []
        sys.addaudithook(self._hook)

    @contextmanager
    def armed(self) -> Iterator[None]:
        self.seen.clear()
        self._armed = True
        try:
            yield
        finally:
            self._armed = False

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._armed:
            return
        if event in _RUNS:
            self.seen.append(f"{event} {str(arguments)[:100]}")
        elif event in _CHANGES or event.startswith("shutil."):
            self._look(event, arguments[0])
        elif event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & _WRITES:
                self._look("written", path)
            elif not self._follows:
                self._look("read", path, only=os.path.join(self._room, "outside"))

    def _look(self, what: str, path: Any, only: str = "") -> None:
        if not isinstance(path, str | bytes | os.PathLike):
            return  # a descriptor
        path = os.fsdecode(path)
        if "\0" in path:
            return
        self._armed = False
        try:
            real = os.path.realpath(path)
        finally:
            self._armed = True
        out = os.path.join(self._room, "out")
        if only:
            # metadata are parsed as JSON, so that nothing of another file gets anywhere
            if real.startswith((only, "/etc/passwd")) and not path.endswith(_METADATA):
                self.seen.append(f"{what} {real}")
        elif real != out and not real.startswith((out + "/", "/dev/null", "/proc/self")):
            self.seen.append(f"{what} {real}")


def peak_memory() -> int:
    """Most bytes that this process had in memory at a time."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
