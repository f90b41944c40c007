"""Data set versions: DVC for the bytes, git for the names.

Published versions live on a branch of their own, ``datasets``: its commits hold nothing but
DVC's pointers (``data/<name>/volume.zarr.dvc``) and a tag ``data/<name>/vN`` names each version.
The branch shares no file with the code, so a user's checkout and branches are never touched, and
any clone can fetch a version::

    dvc get <repository> data/<name>/volume.zarr --rev data/<name>/v1

Whatever writes runs in a throw-away worktree, one publisher at a time.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from emsam.credentials import s3_environment
from emsam.data.digest import folder_digest
from emsam.data.store import Volume
from emsam.data.summary import summarize_volume
from emsam.documents import is_disk_full
from emsam.errors import DiskFull, VersioningFailed
from emsam.settings import Settings
from emsam.versioning.repository import (
    BRANCH,
    branch_exists,
    dvc,
    find_repository,
    git,
    identity,
    one_publisher,
    worktree,
)
from emsam.versioning.versions import DatasetVersion, pointer_file, summary_file, versions

_REMOTE = "emsam"

Say = Callable[[str], None]


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
        git or DVC failed, what came back from the remote differs, or another publisher holds on.
    DiskFull
        No space for DVC's cache or, in a folder, for the remote.
    """
    volume = Volume(settings.volume_path(name))
    store = volume.path
    digest = folder_digest(store)
    repository = find_repository()
    with one_publisher(repository, say), _room(repository, settings):
        known = next((each for each in versions(name) if each.digest == digest), None)
        if known and _is_on_remote(repository, known, settings):
            say(f"{name} is published as {known.tag}")
            return known
        with worktree(repository) as tree:
            say(f"adding {name} to DVC")
            pointer = _add(tree, name, store, repository, settings)
            say(f"pushing to {settings.remote_url}")
            _transfer(tree, "push", pointer, settings)
            say("pulling it back into an empty cache")
            _verify(tree, name, digest, settings)
            version = known or _commit(tree, volume, name, repository)
    say(f"published {version.tag} ({digest})")
    return version


def _is_on_remote(repository: Path, version: DatasetVersion, settings: Settings) -> bool:
    """Whether a version went to the remote that is set now, and a local one is still there."""
    config = git(repository, "show", f"{version.tag}:.dvc/config")
    url = settings.remote_url
    return f"url = {url}" in config and ("://" in url or Path(url).is_dir())


@contextmanager
def _room(repository: Path, settings: Settings) -> Iterator[None]:
    """A full disk becomes one line with the folders that need room, and how much they have."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, DiskFull) and not is_disk_full(error):
            raise
        places = [_cache(repository)]
        if "://" not in settings.remote_url:
            places.append(Path(settings.remote_url))
        free = ", ".join(f"{place} has {_free(place) / 1e6:.0f} MB free" for place in places)
        raise DiskFull(
            f"no space left on a disk ({' '.join(str(error).split())}): {free}; make room there, "
            "then run the same command again"
        ) from None


def _free(place: Path) -> int:
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


# -- steps of a publication ---------------------------------------------------------------------


def _add(tree: Path, name: str, store: Path, repository: Path, settings: Settings) -> str:
    """Bytes into the repository's DVC cache, a pointer into the worktree."""
    if not (tree / ".dvc" / "config").exists():
        dvc(tree, "init", "--quiet")
    dvc(tree, "remote", "add", "--quiet", "--force", "--default", _REMOTE, settings.remote_url)
    dvc(tree, "cache", "dir", "--quiet", "--local", str(_cache(repository)))
    target = tree / "data" / name / "volume.zarr"
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(store, target, copy_function=_link_or_copy)
    dvc(tree, "add", str(target.relative_to(tree)))  # --quiet hides why it fails
    return pointer_file(name)


def _cache(repository: Path) -> Path:
    """DVC's cache of the repository; one that does not use DVC itself gets it below ``.git``."""
    if (repository / ".dvc" / "config").exists():
        return repository / ".dvc" / "cache"
    return Path(git(repository, "rev-parse", "--absolute-git-dir")) / "emsam-dvc-cache"


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
        dvc(tree, "cache", "dir", "--quiet", "--local", cache)
        _transfer(tree, "pull", pointer_file(name), settings)
        if (pulled := folder_digest(target)) != digest:
            raise VersioningFailed(
                f"{settings.remote_url}: {name} came back as {pulled} instead of {digest}; "
                "the remote damaged it or the volume changed meanwhile, publish it again"
            )


def _transfer(tree: Path, way: str, pointer: str, settings: Settings) -> None:
    """Push or pull; without ``--quiet``, which would hide the reason of a failure."""
    team = s3_environment(settings) if settings.is_team and not settings.dvc_remote else None
    try:
        dvc(tree, way, "--remote", _REMOTE, pointer, environment=team)
    except VersioningFailed as error:
        raise VersioningFailed(
            f"{settings.remote_url}: {error}; check the remote and its credentials, then run the "
            "same command again"
        ) from None


def _commit(tree: Path, volume: Volume, name: str, repository: Path) -> DatasetVersion:
    """Commit pointer and summary on the branch and tag them, in one step of git's."""
    before = git(tree, "rev-parse", "HEAD")
    number = 1 + max((int(each.tag.rsplit("/v", 1)[1]) for each in versions(name)), default=0)
    tag = f"data/{name}/v{number}"
    (tree / summary_file(name)).write_text(json.dumps(summarize_volume(volume)) + "\n")
    files = (".dvc/config", ".dvcignore", pointer_file(name), summary_file(name))
    git(tree, "add", "--force", *files)
    message = f"Publish {tag}"
    git(tree, *identity(repository), "commit", "--quiet", "--allow-empty", "-m", message)
    commit = git(tree, "rev-parse", "HEAD")
    expected = before if branch_exists(repository) else "0" * 40
    updates = f"update refs/heads/{BRANCH} {commit} {expected}\ncreate refs/tags/{tag} {commit}\n"
    git(repository, "update-ref", "--stdin", stdin=updates)
    return versions(name)[-1]
