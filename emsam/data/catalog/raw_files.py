"""The cache of downloaded files, with the checksum of each.

One folder for each data set::

    <root>/snemi3d/snemi.zip         as the source has it; may be removed at any time
    <root>/snemi3d/snemi.zip.part    the beginning of a download
    <root>/snemi3d/checksums.json    sha256 of what came first; later downloads must equal it
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from emsam.data import web
from emsam.data.catalog.entry import Download, Entry
from emsam.data.digest import file_md5, file_sha256
from emsam.documents import write_whole
from emsam.errors import InputError
from emsam.progress import Progress

Stage = Callable[[str, bool], AbstractContextManager[Progress | None]]
"""Called with what begins, and whether it is counted in bytes; gives what to call with progress."""

_CHECKSUMS = "checksums.json"


def fetch(entry: Entry, folder: Path, mirror: str, stage: Stage) -> dict[str, Path]:
    """Download what is not in ``folder`` yet, and check all of it.

    Parameters
    ----------
    mirror
        Folder on the web that has ``<data set>/<file>`` in place of the source; empty for none.

    Returns
    -------
    dict
        By name, where each file of the source is.

    Raises
    ------
    InputError
        No connection, an HTTP error, a web page, no space; a checksum that is not the published
        one, or not that of the first download. What came before a connection broke is kept.
    """
    places = {}
    for each in entry.downloads:
        path = folder / each.name
        if not path.exists():
            url = f"{mirror.rstrip('/')}/{entry.name}/{each.name}" if mirror else each.url
            _download(entry, replace(each, url=url), path, folder, stage)
        else:
            _check_cached(each, path, folder)
        places[each.name] = path
    return places


def check_given(entry: Entry, path: Path, folder: Path) -> None:
    """Check a file that was downloaded by hand, if it has the name of one of the source's.

    Raises
    ------
    InputError
        Another checksum than the published or recorded one.
    """
    for each in entry.downloads:
        if path.as_posix().endswith(f"/{each.name}"):
            if problem := _mismatch(each, path, folder):
                raise InputError(f"{path}: {problem}; download it again")
            _record(each, path, folder)


def is_fetched(entry: Entry, folder: Path) -> bool:
    """Whether all files of the source are in the cache."""
    return bool(entry.downloads) and all((folder / each.name).exists() for each in entry.downloads)


def remove_downloads(entry: Entry, folder: Path) -> None:
    """Remove downloaded files; their checksums stay."""
    for each in entry.downloads:
        (folder / each.name).unlink(missing_ok=True)


def recorded_checksums(folder: Path) -> dict[str, str]:
    """By name, the sha256 of files that were fetched once."""
    try:
        known = json.loads((folder / _CHECKSUMS).read_text())
        return {str(name): str(each) for name, each in known.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError):
        raise InputError(
            f"{folder / _CHECKSUMS}: damaged; remove it, then checksums are recorded again"
        ) from None


def _download(entry: Entry, each: Download, path: Path, folder: Path, stage: Stage) -> None:
    part = path.with_name(f"{path.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    remedies = web.Remedies(
        f"otherwise {entry.how}, and give what you got with --from PATH",
        "free space, or set EMSAM_DOWNLOADS_ROOT to a folder that has it",
    )
    with stage(f"downloading {each.name}", True) as progress:
        web.download(each.url, part, None, remedies, progress)
    if problem := _mismatch(each, part, folder):
        part.unlink()
        web.record_of(part).unlink(missing_ok=True)
        raise InputError(f"{each.url}: {problem}; it is deleted, {_after(each, folder)}")
    _record(each, part, folder)
    part.rename(path)
    web.record_of(part).unlink(missing_ok=True)


def _check_cached(each: Download, path: Path, folder: Path) -> None:
    if problem := _mismatch(each, path, folder):
        raise InputError(f"{path}: {problem}; remove it and run the same command again")
    _record(each, path, folder)


def _mismatch(each: Download, path: Path, folder: Path) -> str:
    """Why a file is not the one that it should be; empty if it is."""
    kind, _, published = each.checksum.partition(":")
    if published:
        found = file_md5(path) if kind == "md5" else file_sha256(path)
        whose = f"published ({each.checksum_from})"
        expected = published
    else:
        found, kind, whose = file_sha256(path), "sha256", "recorded at the first download"
        expected = recorded_checksums(folder).get(each.name, found)
    if found == expected:
        return ""
    return f"its {kind} begins with {found[:12]}, {whose} is {expected[:12]}"


def _after(each: Download, folder: Path) -> str:
    if each.checksum:
        return "run the same command again"
    return (
        "run the same command again; if the source changed the file on purpose, remove "
        f"{folder / _CHECKSUMS} first"
    )


def _record(each: Download, path: Path, folder: Path) -> None:
    known = recorded_checksums(folder)
    if each.name not in known:
        known[each.name] = file_sha256(path)
        write_whole(folder / _CHECKSUMS, json.dumps(known, indent=2) + "\n")


def digest_of(paths: list[Path]) -> str:
    """A short name for a set of files as they are: by path, size and time."""
    seen = [[str(path.absolute()), path.stat().st_size, path.stat().st_mtime_ns] for path in paths]
    return hashlib.sha256(json.dumps(sorted(seen)).encode()).hexdigest()[:12]
