"""``emsam restore``: a backup into an empty folder, on ports of its own."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO, Any

import yaml

from emsam.backup.archive import MANIFEST, members, verify
from emsam.backup.make import BUNDLE, FOLDERS
from emsam.credentials import secrets_file, write_secret
from emsam.errors import InputError
from emsam.settings import Settings
from emsam.stack import postgres, seaweed, stack, team
from emsam.versioning.repository import BRANCH, branch_exists, find_repository, git

Say = Callable[[str], None]


def restore(file: Path, settings: Settings, say: Say = lambda line: None) -> dict[str, Any]:
    """Bring a backup into the home folder and the folder of runs, both of them empty.

    Ports and addresses are those of the backup where ``EMSAM_*`` variables do not say others. The
    stores run while they are filled; ``emsam up`` starts all.

    Returns
    -------
    dict
        ``made`` (when the backup was, ISO 8601), ``home``, ``members``.

    Raises
    ------
    InputError
        The backup is not whole, the folders are not empty, there is no git repository or it has
        data set versions, or a port is taken; nothing was written.
    StackFailed
        A store does not take its part; what was written is removed.
    """
    repository = _require_room(settings)
    say("checking the backup")
    manifest = verify(file)
    first = dict(_first(file))
    write_settings(first["team.yaml"], settings)
    try:
        write_secret(secrets_file(settings), first["secrets.env"].decode())
        found = Settings(home=settings.home)
        with stack.alone(found.home), team.unfinished(found):
            _fill(file, found, repository, say)
    except BaseException:
        shutil.rmtree(settings.home, ignore_errors=True)
        shutil.rmtree(settings.runs_root, ignore_errors=True)
        raise
    home = str(settings.home)
    return {"made": manifest["made"], "home": home, "members": len(manifest["members"])}


def _require_room(settings: Settings) -> Path:
    """The repository that gets the data set versions, if nothing here would be lost."""
    for folder in (settings.home, settings.runs_root):
        if folder.exists() and any(folder.iterdir()):
            raise InputError(f"{folder}: is not empty; restore in another folder")
    repository = find_repository()
    if branch_exists(repository):
        raise InputError(
            f"{repository}: has a branch {BRANCH} of its own; restore in another clone"
        )
    return repository


def _first(file: Path) -> list[tuple[str, bytes]]:
    """The members that say how the others are to be read."""
    found = [
        (member.name, stream.read())
        for member, stream in members(file)
        if member.name in ("team.yaml", "secrets.env")
    ]
    if len(found) != 2:
        raise InputError(f"{file}: has no settings or passwords; take another backup")
    return found


def write_settings(text: bytes, settings: Settings) -> None:
    """The team's file, with what the environment says in place of what it said."""
    values = dict(yaml.safe_load(text))
    said = [name for name in team.WRITTEN if f"EMSAM_{name.upper()}" in os.environ]
    # runs come into the folder that was looked at, wherever the team of the backup had its own
    values["runs_root"] = str(settings.runs_root)
    team.write_file(settings, values | {name: getattr(settings, name) for name in said})


def _fill(file: Path, settings: Settings, repository: Path, say: Say) -> None:
    """Start the stores, empty, give each member its place, and stop them."""
    versions = settings.home / BUNDLE
    team.create(settings)
    stack.require_ports(settings)
    try:
        stack.start_stores(settings, say)
        client = seaweed.admin_client(settings)
        say("bringing back databases, runs and objects")
        for member, stream in members(file):
            kind, _, name = member.name.partition("/")
            if kind == BUNDLE:
                with versions.open("wb") as copy:
                    shutil.copyfileobj(stream, copy)
            elif kind == "databases":
                _bring_database(name.removesuffix(".dump"), stream, settings)
            elif kind == "objects":
                bucket, key = json.loads(name)
                with seaweed.answering(bucket):
                    client.upload_fileobj(stream, bucket, key)
            elif kind in ("home", "runs"):
                root = settings.home if kind == "home" else settings.runs_root
                _bring_file(root, name, stream, FOLDERS if kind == "home" else None)
            elif member.name not in (MANIFEST, "team.yaml", "secrets.env"):
                raise InputError(f"{file}: {member.name}: is of a newer EM-SAM")
        if versions.exists():  # last, since nobody takes them out of the repository again
            _bring_versions(versions, repository)
            versions.unlink()
    finally:
        stack.stop_services(["s3", "postgres"], settings, say)


def _bring_database(name: str, stream: IO[bytes], settings: Settings) -> None:
    if name not in postgres.DATABASES:
        raise InputError(f"{name}: no database of a team's; the backup is of a newer EM-SAM")
    with tempfile.NamedTemporaryFile(dir=settings.home, suffix=".dump") as copy:
        shutil.copyfileobj(stream, copy)
        copy.flush()
        postgres.run(
            settings, "pg_restore", "--exit-on-error", "--no-owner", f"--role={name}", "-d", name,
            copy.name,
        )  # fmt: skip


def _bring_versions(bundle: Path, repository: Path) -> None:
    """The branch and the tags of data set versions, out of git's bundle."""
    refs = [f"refs/heads/{BRANCH}:refs/heads/{BRANCH}", "refs/tags/data/*:refs/tags/data/*"]
    git(repository, "fetch", "--quiet", "--no-tags", str(bundle.absolute()), *refs)


def _bring_file(root: Path, name: str, stream: IO[bytes], folders: tuple[str, ...] | None) -> None:
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\0" in name:
        raise InputError(f"{name[:80]!r}: no path of a file in a backup")
    if folders and parts[0] not in folders:
        raise InputError(f"{name[:80]!r}: is of a newer EM-SAM")
    path = root.joinpath(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as target:
        shutil.copyfileobj(stream, target)
