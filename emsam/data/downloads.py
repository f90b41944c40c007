"""Input that is in S3, beside the store for as long as it is read."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from emsam.data.new_store import make_parents, remove_empty
from emsam.data.readers import FileDigest, Stack, open_stack
from emsam.data.readers.s3 import Remote, fetch, is_remote, list_remote
from emsam.errors import InputError
from emsam.locks import try_lock
from emsam.progress import Progress

Location = str | Path | Callable[[], Stack]
"""Where a stack is, as :func:`~emsam.data.readers.open_stack` takes it, or what opens it."""


@dataclass(frozen=True)
class Inputs:
    """Where each location is on this machine.

    Attributes
    ----------
    remotes
        By address, what is in S3.
    places
        By address, where it was fetched to.
    """

    remotes: Mapping[str, Remote]
    places: Mapping[str, Path | str]

    def open(self, location: Location) -> Stack:
        """Open a stack under the name that the user gave it."""
        if callable(location):
            return location()
        place = self.places.get(str(location), location)
        return open_stack(place, name=str(location))

    def identity(self, location: Location, stack: Stack, digest: FileDigest) -> str:
        """Digest of the content: by ETags for what is in S3, so that it need not be fetched."""
        remote = self.remotes.get(str(location))
        return remote.identity if remote else stack.identity(digest)


def list_remotes(locations: Sequence[Location]) -> dict[str, Remote]:
    """By address, what is behind those of ``locations`` that are in S3."""
    return {
        str(each): list_remote(str(each))
        for each in locations
        if not callable(each) and is_remote(each)
    }


@contextmanager
def fetched(
    remotes: Mapping[str, Remote], store: Path, progress: Progress | None
) -> Iterator[Inputs]:
    """Fetch ``remotes`` into a folder beside ``store`` and remove it at the end.

    An interrupted or broken transfer leaves what has come, for the next call to go on with.

    Raises
    ------
    InputError
        As :func:`~emsam.data.readers.s3.fetch`, or another process that fetches for this store.
    """
    if not remotes:
        yield Inputs({}, {})
        return
    folder = store.with_name(f".{store.name}.download")
    made = make_parents(folder)
    with try_lock(folder / "lock") as mine:
        if not mine:
            raise InputError(f"{store}: another process fetches its input; wait for it")
        places = _fetch_all(remotes, folder, made, progress)
        try:
            yield Inputs(remotes, places)
        except Exception:
            _remove(folder, made)
            raise
        shutil.rmtree(folder)


def _fetch_all(
    remotes: Mapping[str, Remote], folder: Path, made: list[Path], progress: Progress | None
) -> dict[str, Path | str]:
    wanted = {
        address: folder / remote.identity.split(":")[1] for address, remote in remotes.items()
    }
    for other in folder.iterdir():
        if other.is_dir() and other not in wanted.values():
            shutil.rmtree(other)
    try:
        for each in wanted.values():
            each.mkdir(exist_ok=True)
        return {
            address: fetch(remote, wanted[address], progress) for address, remote in remotes.items()
        }
    except Exception:
        if not any(path.is_file() for each in wanted.values() for path in each.rglob("*")):
            _remove(folder, made)
        raise


def _remove(folder: Path, made: list[Path]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    remove_empty(made[1:] if made and made[0] == folder else made)
