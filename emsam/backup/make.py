"""``emsam backup``: a team's databases, objects, settings, passwords, decisions and runs."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from emsam.backup.archive import ArchiveWriter, new_archive
from emsam.credentials import secrets_file
from emsam.errors import InputError, StackFailed
from emsam.params import TASKS
from emsam.registry.database import Database
from emsam.settings import Settings
from emsam.stack import postgres, seaweed, stack
from emsam.versioning.repository import branch_exists, find_repository, git

Say = Callable[[str], None]
FOLDERS = ("decisions", "checks")
"""Of the home folder: what is neither in a database nor in S3 nor made anew."""
BUNDLE = "datasets.bundle"
_STORES = ("postgres", "s3")


def backup(target: Path, settings: Settings, say: Say = lambda line: None) -> dict[str, Any]:
    """Write a backup while the stack runs; it holds whatever its databases name.

    Parameters
    ----------
    target
        The file, or a folder that gets one named by the time.

    Returns
    -------
    dict
        ``file``, ``size`` (bytes), ``objects``, ``runs``, ``versions`` (of data sets) and
        ``seconds``.

    Raises
    ------
    InputError
        The folder is of one person, its stores do not run, the file is there, or the command is
        not given in the project's git repository.
    StackFailed
        A dump or an object failed; nothing is left of the file.
    """
    begun = time.monotonic()
    _require_stores(settings)
    repository = find_repository()
    final = _file_in(target)
    with new_archive(final) as (archive, part):
        counts = _fill(archive, part, settings, repository, say)
    size, seconds = final.stat().st_size, time.monotonic() - begun
    return {"file": str(final), "size": size, **counts, "seconds": seconds}


def _file_in(target: Path) -> Path:
    """The file, named by the time where a folder was given."""
    if not target.is_dir():
        return target
    return target / f"emsam-{datetime.now(UTC):%Y%m%d-%H%M%S}.tar"


def _fill(
    archive: ArchiveWriter, part: Path, settings: Settings, repository: Path, say: Say
) -> dict[str, int]:
    """All members; returns how many there are of some kinds.

    Runs come first, since each remembers what MLflow has of it, which must not be more than the
    dump has. Then the databases, while no champion moves, and at last decisions and objects, so
    that all that a database names is there, and perhaps some that came later.

    Parameters
    ----------
    part
        The archive's own file, which may lie in a folder that is kept.
    """
    archive.add_file("team.yaml", settings.team_file)
    archive.add_file("secrets.env", secrets_file(settings))
    if settings.runs_root.is_dir():
        say(f"copying runs of {settings.runs_root}")
    else:
        say(f"{settings.runs_root}: no such folder; no runs are kept")
    runs = _add_folder(archive, "runs", settings.runs_root, {part})
    _add_databases(archive, part.parent, settings, say)
    versions = _add_versions(archive, part.parent, repository)
    for name in FOLDERS:
        _add_folder(archive, f"home/{name}", settings.home / name, {part})
    objects = _add_objects(archive, settings, say)
    say("checking what was written")
    archive.finish(
        {"made": datetime.now(UTC).isoformat(timespec="seconds"), "emsam": version("emsam")}
    )
    return {"objects": objects, "runs": len(runs), "versions": versions}


def _require_stores(settings: Settings) -> None:
    if not settings.is_team:
        raise InputError(
            f"{settings.home}: is no team's; stop what runs with 'emsam down' and copy this folder"
        )
    states = {row["name"]: row["state"] for row in stack.status(settings)}
    for name in _STORES:
        if states[name] != "running":
            raise InputError(f"{name}: {states[name]}, and a backup needs it; run 'emsam up'")


@contextmanager
def no_champion_moves(settings: Settings) -> Iterator[None]:
    """Hold the locks of all models: ledger and aliases lie in two databases."""
    ledger = Database(settings)
    with ExitStack() as held:
        for task in TASKS:
            held.enter_context(ledger.lock(settings.model_name(task)))
        yield


def _add_databases(archive: ArchiveWriter, room: Path, settings: Settings, say: Say) -> None:
    """A dump of each database, as PostgreSQL's own programs make and read them."""
    with tempfile.TemporaryDirectory(prefix=".emsam-dumps-", dir=room) as folder:
        with no_champion_moves(settings):
            for name in postgres.DATABASES:
                say(f"dumping the database {name}")
                file = Path(folder, f"{name}.dump")
                postgres.run(settings, "pg_dump", "--format=custom", "-f", str(file), name)
        for name in postgres.DATABASES:
            file = Path(folder, f"{name}.dump")
            listed = [postgres.binary("pg_restore"), "--list", str(file)]
            if subprocess.run(listed, stdout=subprocess.DEVNULL).returncode:
                raise StackFailed(f"{file.name}: pg_restore cannot read it")
            archive.add_file(f"databases/{name}.dump", file)


def _add_versions(archive: ArchiveWriter, room: Path, repository: Path) -> int:
    """The branch and the tags that name data set versions; returns how many there are."""
    if not branch_exists(repository):
        return 0
    with tempfile.TemporaryDirectory(prefix=".emsam-bundle-", dir=room) as folder:
        file = Path(folder, BUNDLE)
        refs = ["refs/heads/datasets", "--glob=refs/tags/data/*"]
        git(repository, "bundle", "create", "--quiet", str(file.absolute()), *refs)
        archive.add_file(BUNDLE, file)
    return len(git(repository, "tag", "--list", "data/*").split())


def _add_folder(archive: ArchiveWriter, prefix: str, folder: Path, without: set[Path]) -> set[str]:
    """All files of a folder; returns the first part of their paths. A file that goes is left."""
    found = set()
    for path in _files(folder):
        if path.is_symlink() or not path.is_file() or path in without:
            continue
        name = path.relative_to(folder).as_posix()
        try:
            archive.add_file(f"{prefix}/{name}", path)
        except FileNotFoundError:
            continue  # an older checkpoint, say
        except PermissionError:
            raise StackFailed(f"{path}: may not be read; back up as who may read it") from None
        except EOFError:
            raise StackFailed(f"{path}: was cut while it was read; run the same again") from None
        found.add(name.split("/")[0])
    return found


def _files(folder: Path) -> Iterator[Path]:
    """In order; a folder that goes meanwhile is left out."""
    for root, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(root, name) for name in sorted(names))


def _add_objects(archive: ArchiveWriter, settings: Settings, say: Say) -> int:
    """Every object of every bucket; one that goes meanwhile is left."""
    client = seaweed.admin_client(settings)
    count = 0
    for bucket in seaweed.BUCKETS:
        say(f"copying the bucket {bucket}")
        with seaweed.answering(bucket):
            for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
                for entry in page.get("Contents", ()):
                    count += _add_object(archive, client, bucket, entry["Key"])
    return count


def _add_object(archive: ArchiveWriter, client: Any, bucket: str, key: str) -> int:
    try:
        reply = client.get_object(Bucket=bucket, Key=key)
    except client.exceptions.NoSuchKey:
        return 0
    # the name of a member is a path, which a key need not be
    head = json.dumps([bucket, key])
    archive.add(f"objects/{head}", reply["Body"], reply["ContentLength"])
    return 1
