"""Data set versions: DVC for the bytes, git for the names.

Published versions live on a branch of their own, ``datasets``: its commits hold nothing but
DVC's pointers (``data/<name>/volume.zarr.dvc``) and a tag ``data/<name>/vN`` names each version.
The branch shares no file with the code, so a user's checkout and branches are never touched, and
any clone can fetch a version::

    dvc get <repository> data/<name>/volume.zarr --rev data/<name>/v1

Whatever writes runs in a throw-away worktree, one publisher at a time.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from emsam.data.digest import folder_digest
from emsam.data.store import Volume
from emsam.errors import InputError, VersioningFailed
from emsam.quiet import QUIET_ENVIRONMENT
from emsam.settings import Settings

BRANCH = "datasets"
_REMOTE = "emsam"

Say = Callable[[str], None]


@dataclass(frozen=True)
class DatasetVersion:
    """A published version.

    Attributes
    ----------
    digest
        DVC's, ``"<md5>.dir"``.
    tag
        ``data/<name>/vN`` in git.
    date
        When it was published, ISO 8601.
    size
        Bytes.
    """

    name: str
    digest: str
    tag: str
    date: str
    author: str
    size: int
    files: int


def publish(name: str, settings: Settings, say: Say = lambda line: None) -> DatasetVersion:
    """Make the volume ``name`` a data set version: add, push, verify, name.

    What is pushed is pulled again into an empty cache and compared before the version gets a
    name. A volume that is published already is left as it is. Interrupted at any point, it
    leaves no name behind and the next call finishes.

    Raises
    ------
    InputError
        No such volume, or no git repository around the current folder.
    VersioningFailed
        git or DVC failed, or what came back from the remote differs.
    """
    store = Volume(settings.volume_path(name)).path
    digest = folder_digest(store)
    repository = _repository()
    with _one_publisher(repository):
        known = next((each for each in versions(name) if each.digest == digest), None)
        if known and _is_on_remote(repository, known, settings):
            say(f"{name} is published as {known.tag}")
            return known
        with _worktree(repository) as tree:
            say(f"adding {name} to DVC")
            pointer = _add(tree, name, store, repository, settings)
            say(f"pushing to {settings.remote_url}")
            _dvc(tree, "push", "--quiet", "--remote", _REMOTE, pointer)
            say("pulling it back into an empty cache")
            _verify(tree, name, digest, settings)
            version = known or _commit(tree, name, pointer, repository)
    say(f"published {version.tag} ({digest})")
    return version


def versions(name: str) -> list[DatasetVersion]:
    """Published versions of ``name``, the oldest first."""
    repository = _repository()
    listing = _git(
        repository, "tag", "--list", f"data/{name}/v*", "--sort=version:refname",
        "--format=%(refname:short)%09%(creatordate:iso-strict)%09%(*authorname)%(authorname)",
    )  # fmt: skip
    found = []
    for line in listing.splitlines():
        tag, date, author = line.split("\t")
        out = yaml.safe_load(_git(repository, "show", f"{tag}:{_pointer(name)}"))["outs"][0]
        found.append(
            DatasetVersion(name, out["md5"], tag, date, author, out["size"], out["nfiles"])
        )
    return found


def _is_on_remote(repository: Path, version: DatasetVersion, settings: Settings) -> bool:
    """Whether a version went to the remote that is set now, and a local one is still there."""
    config = _git(repository, "show", f"{version.tag}:.dvc/config")
    url = settings.remote_url
    return f"url = {url}" in config and ("://" in url or Path(url).is_dir())


# -- steps of a publication ---------------------------------------------------------------------


def _pointer(name: str) -> str:
    return f"data/{name}/volume.zarr.dvc"


def _add(tree: Path, name: str, store: Path, repository: Path, settings: Settings) -> str:
    """Bytes into the repository's DVC cache, a pointer into the worktree."""
    if not (tree / ".dvc" / "config").exists():
        _dvc(tree, "init", "--quiet")
    _dvc(tree, "remote", "add", "--quiet", "--force", "--default", _REMOTE, settings.remote_url)
    _dvc(tree, "cache", "dir", "--quiet", "--local", str(_cache(repository)))
    target = tree / "data" / name / "volume.zarr"
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(store, target, copy_function=_link_or_copy)
    _dvc(tree, "add", "--quiet", str(target.relative_to(tree)))
    return _pointer(name)


def _cache(repository: Path) -> Path:
    """DVC's cache of the repository; one that does not use DVC itself gets it below ``.git``."""
    if (repository / ".dvc" / "config").exists():
        return repository / ".dvc" / "cache"
    return Path(_git(repository, "rev-parse", "--absolute-git-dir")) / "emsam-dvc-cache"


def _link_or_copy(source: str, target: str) -> str:
    """Hard links spare the second copy; DVC replaces the file, never its content."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target


def _verify(tree: Path, name: str, digest: str, settings: Settings) -> None:
    """Pull into an empty cache and compare; a truncated object cannot hide behind ours."""
    with tempfile.TemporaryDirectory(prefix="verify-", dir=tree.parent) as cache:
        target = tree / "data" / name / "volume.zarr"
        shutil.rmtree(target)
        _dvc(tree, "cache", "dir", "--quiet", "--local", cache)
        _dvc(tree, "pull", "--quiet", "--remote", _REMOTE, _pointer(name))
        if (pulled := folder_digest(target)) != digest:
            raise VersioningFailed(
                f"{settings.remote_url}: {name} came back as {pulled} instead of {digest}; "
                "the remote damaged it or the volume changed meanwhile, publish it again"
            )


def _commit(tree: Path, name: str, pointer: str, repository: Path) -> DatasetVersion:
    """Commit the pointer on the branch and tag it, in one step of git's."""
    before = _git(tree, "rev-parse", "HEAD")
    number = 1 + max((int(each.tag.rsplit("/v", 1)[1]) for each in versions(name)), default=0)
    tag = f"data/{name}/v{number}"
    _git(tree, "add", "--force", ".dvc/config", ".dvcignore", pointer)
    message = f"Publish {tag}"
    _git(tree, *_identity(repository), "commit", "--quiet", "--allow-empty", "-m", message)
    commit = _git(tree, "rev-parse", "HEAD")
    expected = before if _branch_exists(repository) else "0" * 40
    updates = f"update refs/heads/{BRANCH} {commit} {expected}\ncreate refs/tags/{tag} {commit}\n"
    _git(repository, "update-ref", "--stdin", stdin=updates)
    return versions(name)[-1]


# -- git and DVC --------------------------------------------------------------------------------


@contextmanager
def _one_publisher(repository: Path) -> Iterator[None]:
    lock = Path(_git(repository, "rev-parse", "--absolute-git-dir")) / "emsam-publish.lock"
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def _worktree(repository: Path) -> Iterator[Path]:
    """A throw-away worktree at the tip of the branch, or at an empty commit before its first."""
    git_folder = Path(_git(repository, "rev-parse", "--absolute-git-dir"))
    place = git_folder / "emsam-publish"
    shutil.rmtree(place, ignore_errors=True)  # what a killed publisher left
    _git(repository, "worktree", "prune")
    if _branch_exists(repository):
        start = f"refs/heads/{BRANCH}"
    elif _git(repository, "branch", "--remotes", "--list", f"origin/{BRANCH}"):
        start = f"refs/remotes/origin/{BRANCH}"
    else:
        empty = _git(repository, "hash-object", "-t", "tree", "-w", "--stdin", stdin="")
        message = "Data sets of EM-SAM"
        start = _git(repository, *_identity(repository), "commit-tree", empty, "-m", message)
    tree = place / "tree"
    place.mkdir()
    try:
        _git(repository, "worktree", "add", "--quiet", "--detach", str(tree), start)
        yield tree
    finally:
        shutil.rmtree(place, ignore_errors=True)
        _git(repository, "worktree", "prune")


def _repository() -> Path:
    try:
        top = _git(Path.cwd(), "rev-parse", "--show-toplevel")
    except VersioningFailed:
        raise InputError(
            f"{Path.cwd()}: not inside a git repository, which versions need; run 'git init' "
            "or change to the project's folder"
        ) from None
    return Path(top)


def _branch_exists(repository: Path) -> bool:
    return bool(_git(repository, "branch", "--list", BRANCH))


def _identity(repository: Path) -> list[str]:
    """git's own author if one is configured, else EM-SAM: a fresh machine can publish too."""
    try:
        _git(repository, "var", "GIT_AUTHOR_IDENT")
        return []
    except VersioningFailed:
        return ["-c", "user.name=EM-SAM", "-c", "user.email=emsam@localhost"]


def _git(folder: Path, *arguments: str, stdin: str | None = None) -> str:
    """Run git; the code's hooks and signing keys have no say on the data's branch."""
    settings = ["-c", "core.hooksPath=/dev/null", "-c", "commit.gpgsign=false"]
    return _run(["git", "-C", str(folder), *settings, *arguments], folder, stdin).strip()


def _dvc(folder: Path, *arguments: str) -> str:
    return _run([sys.executable, "-m", "dvc", *arguments], folder, None)


def _run(command: list[str], folder: Path, stdin: str | None) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        input=stdin,
        capture_output=True,
        text=True,
        env=os.environ | QUIET_ENVIRONMENT,
    )
    if done.returncode:
        reason = " ".join((done.stderr or done.stdout).split()) or f"exit {done.returncode}"
        name, words = ("dvc", command[3:5]) if "dvc" in command else ("git", command[7:9])
        raise VersioningFailed(f"{name} {' '.join(words)}: {reason}")
    return done.stdout
