"""git and DVC as this project uses them: a branch of its own, a throw-away worktree."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from emsam.documents import says_disk_full
from emsam.errors import DiskFull, InputError, VersioningFailed
from emsam.locks import owned_lock
from emsam.quiet import QUIET_ENVIRONMENT

BRANCH = "datasets"


LONGEST_WAIT = 600.0
"""Seconds to wait for another publisher, who may be pushing a large volume."""
_REF_WAIT = 10_000
"""Milliseconds to wait for another git that holds the lock of a ref."""

_inherited: set[int] = set()
"""Descriptors that children keep open, so that a lock is held as long as any of them lives."""


@contextmanager
def one_publisher(repository: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock of publishers; children of one that was killed hold it until they end.

    Raises
    ------
    VersioningFailed
        Another publisher is still at work, or one on another machine never let go.
    """
    lock = Path(git(repository, "rev-parse", "--absolute-git-dir")) / "emsam-publish.lock"

    def told(holder: str) -> None:
        say(f"waiting for {holder}, which publishes")

    with owned_lock(lock, LONGEST_WAIT, told) as (handle, holder):
        if holder:
            raise VersioningFailed(
                f"{lock}: {holder} publishes; wait for it, or remove this file if it runs no more"
            )
        _inherited.add(handle.fileno())
        try:
            yield
        finally:
            _inherited.discard(handle.fileno())


@contextmanager
def worktree(repository: Path) -> Iterator[Path]:
    """A throw-away worktree at the tip of the branch, or at an empty commit before its first."""
    git_folder = Path(git(repository, "rev-parse", "--absolute-git-dir"))
    place = git_folder / "emsam-publish"
    shutil.rmtree(place, ignore_errors=True)  # what a killed publisher left
    git(repository, "worktree", "prune")
    if branch_exists(repository):
        start = f"refs/heads/{BRANCH}"
    elif git(repository, "branch", "--remotes", "--list", f"origin/{BRANCH}"):
        start = f"refs/remotes/origin/{BRANCH}"
    else:
        empty = git(repository, "hash-object", "-t", "tree", "-w", "--stdin", stdin="")
        message = "Data sets of EM-SAM"
        start = git(repository, *identity(repository), "commit-tree", empty, "-m", message)
    tree = place / "tree"
    place.mkdir()
    try:
        git(repository, "worktree", "add", "--quiet", "--detach", str(tree), start)
        yield tree
    finally:
        shutil.rmtree(place, ignore_errors=True)
        git(repository, "worktree", "prune")


def find_repository() -> Path:
    try:
        top = git(Path.cwd(), "rev-parse", "--show-toplevel")
    except VersioningFailed:
        raise InputError(
            f"{Path.cwd()}: not inside a git repository, which versions need; run 'git init' "
            "or change to the project's folder"
        ) from None
    return Path(top)


def branch_exists(repository: Path) -> bool:
    return bool(git(repository, "branch", "--list", BRANCH))


def identity(repository: Path) -> list[str]:
    """git's own author if one is configured, else EM-SAM: a fresh machine can publish too."""
    try:
        git(repository, "var", "GIT_AUTHOR_IDENT")
        return []
    except VersioningFailed:
        return ["-c", "user.name=EM-SAM", "-c", "user.email=emsam@localhost"]


def git(folder: Path, *arguments: str, stdin: str | None = None) -> str:
    """Run git; the code's hooks and signing keys have no say on the data's branch."""
    settings = {
        "core.hooksPath": "/dev/null",
        "commit.gpgsign": "false",
        "core.filesRefLockTimeout": _REF_WAIT,
        "core.packedRefsTimeout": _REF_WAIT,
    }
    options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
    return _run(["git", "-C", str(folder), *options, *arguments], folder, stdin).strip()


def dvc(folder: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """Run DVC; ``environment`` is what it needs beside ours to reach a remote."""
    return _run([sys.executable, "-m", "dvc", *arguments], folder, None, environment)


def _run(
    command: list[str],
    folder: Path,
    stdin: str | None,
    environment: Mapping[str, str] | None = None,
) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        input=stdin,
        capture_output=True,
        text=True,
        env={**os.environ, **QUIET_ENVIRONMENT, **(environment or {})},
        pass_fds=tuple(_inherited),
    )
    if done.returncode:
        name, words = ("dvc", command[3:5]) if command[0] != "git" else ("git", command[11:13])
        reason = _reason(done.stderr or done.stdout) or f"exit {done.returncode}"
        said = f"{name} {' '.join(words)}: {reason}"
        if says_disk_full(done.stderr + done.stdout):
            raise DiskFull(said)
        raise VersioningFailed(said)
    return done.stdout


def _reason(printed: str) -> str:
    """DVC's errors without its advertisement, or all that was printed, on one line."""
    errors = [
        line.removeprefix("ERROR: ").removeprefix("unexpected error - ")
        for line in printed.splitlines()
        if line.startswith("ERROR: ")
    ]
    return " ".join(" ".join(errors or [printed]).split())
