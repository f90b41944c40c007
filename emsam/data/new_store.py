"""A folder that appears when it is whole, and leaves nothing when it fails."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from emsam.data.journal import Journal
from emsam.documents import is_disk_full
from emsam.errors import DiskFull, InputError
from emsam.locks import owned_lock


@dataclass(frozen=True)
class Part:
    """A store that is being made.

    Attributes
    ----------
    path
        The folder to write.
    journal
        What was written of it before, by a process that was killed.
    """

    path: Path
    journal: Journal


@contextmanager
def new_store(store: Path, making: str = "", size: int = 0) -> Iterator[Part]:
    """A folder to write, which takes the name ``store`` when the block ends well.

    It lies in ``.<name>.part`` beside ``store``. Whatever fails removes it; only a process that
    is interrupted or killed leaves what its journal holds, for the next one that makes the same.

    Parameters
    ----------
    making
        See :class:`~emsam.data.journal.Journal`.
    size
        Bytes that the store takes at most, for messages.

    Raises
    ------
    InputError
        Another process is making it.
    DiskFull
        The disk has no space left; nothing stays.
    """
    folder = part_of(store)
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        with _writing(store, folder, missing, making) as part:
            yield part
    except Exception as error:
        if not is_disk_full(error):
            raise
        _remove(folder, missing)
        raise DiskFull(_no_space(store, size)) from None


@contextmanager
def _writing(store: Path, folder: Path, missing: list[Path], making: str) -> Iterator[Part]:
    """Make ``folder``, of which ``missing`` is not there yet, and give it up with the block."""
    make_parents(folder)
    with owned_lock(folder / "lock") as (_, holder):
        if holder:
            raise InputError(
                f"{store}: {holder} is writing it; wait for it, or remove {folder} if it runs "
                "no more"
            )
        try:
            if store.exists():
                raise InputError(f"{store}: was written meanwhile; run the same command again")
            part = Part(folder / "store", Journal(folder / "journal.jsonl", making))
            if not part.journal.slices:
                shutil.rmtree(part.path, ignore_errors=True)
            yield part
            part.path.rename(store)
            shutil.rmtree(folder, ignore_errors=True)  # a newcomer's lock may be in it by now
        except Exception:
            _remove(folder, missing)
            raise
        except BaseException:
            if not part.journal.slices:
                _remove(folder, missing)
            raise


def part_of(store: Path) -> Path:
    """Where ``store`` is while it is made."""
    return store.with_name(f".{store.name}.part")


def drop_part(store: Path) -> None:
    """Remove what a process left that was killed after ``store`` had its name."""
    folder = part_of(store)
    if folder.is_dir():
        with owned_lock(folder / "lock") as (_, holder):
            if not holder:
                shutil.rmtree(folder, ignore_errors=True)


def make_parents(folder: Path) -> list[Path]:
    """Create ``folder``; returns what was created, innermost first."""
    made = []
    while not folder.exists():
        made.append(folder)
        folder = folder.parent
    for each in reversed(made):
        each.mkdir(exist_ok=True)
    return made


def remove_empty(folders: list[Path]) -> None:
    """Remove what :func:`make_parents` made, as far as nobody has put anything there."""
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()


def _remove(folder: Path, missing: list[Path]) -> None:
    """Remove ``folder``, and of what was missing above it what is empty."""
    shutil.rmtree(folder, ignore_errors=True)
    remove_empty([each for each in missing if each != folder and each.exists()])


def _no_space(store: Path, size: int) -> str:
    place = store.absolute()
    while not place.exists():
        place = place.parent
    needed = f", {size / 1e6:.0f} MB are needed at most" if size else ""
    return (
        f"{store.parent}: no space left on its disk ({shutil.disk_usage(place).free / 1e6:.0f} MB "
        f"are free{needed}); free some, or set EMSAM_DATA_ROOT to a folder on another disk, then "
        "run the same command again"
    )
