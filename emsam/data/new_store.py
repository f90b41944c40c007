"""A folder that appears when it is whole, and leaves nothing when it fails."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

Progress = Callable[[int, int], None]
"""Called with (done, total)."""


@contextmanager
def new_store(store: Path) -> Iterator[Path]:
    """A temporary folder beside ``store`` that takes its name when the block ends well."""
    temporary = store.with_name(f".{store.name}.{os.getpid()}.part")
    made = make_parents(store.parent)
    _drop_leftovers(store)
    try:
        yield temporary
        temporary.rename(store)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        remove_empty(made)
        raise


def make_parents(folder: Path) -> list[Path]:
    """Create ``folder``; returns what was created, innermost first."""
    made = []
    while not folder.exists():
        made.append(folder)
        folder = folder.parent
    for each in reversed(made):
        each.mkdir()
    return made


def remove_empty(folders: list[Path]) -> None:
    """Remove what :func:`make_parents` made, as far as nobody has put anything there."""
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()


def _drop_leftovers(store: Path) -> None:
    """Remove what writers that were killed left beside ``store``."""
    for leftover in store.parent.glob(f".{store.name}.*.part"):
        pid = int(leftover.name.split(".")[-2])
        if pid == os.getpid() or not _is_alive(pid):
            shutil.rmtree(leftover, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
