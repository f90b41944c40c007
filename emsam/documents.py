"""Documents and folders on disk: what JSON can hold, and when a file is safe."""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import math
import os
import shutil
import socket
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from emsam.errors import InputError, one_line

_LARGEST_DOCUMENT = 256 << 20
_HOST = socket.gethostname()
_SQLITE_FULL = "database or disk is full"


def finite_or_none(tree: Any) -> Any:
    """Nested lists and mappings with ``None`` for every NaN and infinity."""
    if isinstance(tree, dict):
        return {key: finite_or_none(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [finite_or_none(value) for value in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree


def sync_path(path: Path) -> None:
    """Wait until a file, or the entries of a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def document_digest(document: Any) -> str:
    """sha256 of a JSON document, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def write_whole(path: Path, text: str, mode: int = 0o666) -> None:
    """Write a file so that a reader sees the old text or the new one, never a part.

    Parameters
    ----------
    mode
        Who may read and write it, as far as the process's umask lets them.
    """
    with whole_file(path) as temporary:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(text)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Where to write what becomes a file when the context ends; nothing is there before.

    Nothing is left beside it if that fails; what a writer on this host left who was killed goes.
    """
    temporary = path.with_name(f".{path.name}.{_HOST}.{os.getpid()}.part")
    temporary.unlink(missing_ok=True)  # of one who had the same process id
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _drop_parts(path)


def _drop_parts(path: Path) -> None:
    """Remove what writers of a file left that do not live any more."""
    for part in path.parent.glob(f".{glob.escape(path.name)}.{glob.escape(_HOST)}.*.part*"):
        pid = part.name.rpartition(".part")[0].rpartition(".")[2]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            part.unlink(missing_ok=True)


def read_object(path: Path, remedy: str) -> dict[str, Any]:
    """The JSON object in a file.

    Parameters
    ----------
    remedy
        What a user can do about a damaged one.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    InputError
        A file that may not be read, is larger than any document of ours, or holds no JSON object.
    """
    try:
        size = path.stat().st_size
        if not path.is_file() or size > _LARGEST_DOCUMENT:
            raise ValueError(f"{size} bytes" if size else "not a file")
        return parse_object(path.read_bytes())
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: damaged ({one_line(error)}); {remedy}") from None


def parse_object(text: str | bytes) -> dict[str, Any]:
    """A JSON object; anything else is a ``ValueError``, however deeply it is nested."""
    try:
        document = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(document, dict):
        raise ValueError(f"a {type(document).__name__} in place of an object")
    return document


def last_line(path: Path) -> str:
    """The last line of a log that says something; empty if there is none, or no log."""
    try:
        with path.open(errors="replace") as stream:
            lines = deque((line.strip() for line in stream if line.strip()), maxlen=1)
    except FileNotFoundError:
        return ""
    return lines[0] if lines else ""


@contextmanager
def whole_folder(final: Path) -> Iterator[Path]:
    """A temporary folder that takes the place of ``final`` when it is filled and on the disk.

    ``final`` is not touched, and the temporary folder goes, if filling it fails.
    """
    temporary = final.with_name(f".{final.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        for path in [*temporary.iterdir(), temporary]:
            sync_path(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    shutil.rmtree(final, ignore_errors=True)
    temporary.rename(final)
    sync_path(final.parent)


def is_disk_full(error: BaseException) -> bool:
    """Whether an error means that a disk, or a user's share of it, has no space left."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return says_disk_full(str(error))


def says_disk_full(message: str) -> bool:
    """Whether a library's words mean what :func:`is_disk_full` looks for."""
    said = [os.strerror(each) for each in (errno.ENOSPC, errno.EDQUOT)]
    return any(each in message for each in (*said, _SQLITE_FULL))
