"""Published versions: which there are and how they differ."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from emsam.data.summary import Summary, compare_summaries, describe_changes
from emsam.errors import InputError, VersioningFailed
from emsam.versioning.repository import find_repository, git


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
    changes
        What differs from the version before, in words.
    """

    name: str
    digest: str
    tag: str
    date: str
    author: str
    size: int
    files: int
    changes: str = ""


def versions(name: str) -> list[DatasetVersion]:
    """Published versions of ``name``, the oldest first."""
    repository = find_repository()
    listing = git(
        repository, "tag", "--list", f"data/{name}/v*", "--sort=version:refname",
        "--format=%(refname:short)%09%(creatordate:iso-strict)%09%(*authorname)%(authorname)",
    )  # fmt: skip
    found: list[DatasetVersion] = []
    before: Summary | None = None
    for line in listing.splitlines():
        tag, date, author = line.split("\t")
        out = yaml.safe_load(git(repository, "show", f"{tag}:{pointer_file(name)}"))["outs"][0]
        summary = _summary(repository, tag, name)
        changes = describe_changes(compare_summaries(before, summary)) if before and summary else ""
        found.append(
            DatasetVersion(name, out["md5"], tag, date, author, out["size"], out["nfiles"], changes)
        )
        before = summary
    return found


def difference(name: str, first: str, second: str) -> Summary:
    """What changed from one published version of a volume to another.

    Parameters
    ----------
    first, second
        ``v1`` or ``data/<name>/v1``.

    Returns
    -------
    dict
        See :func:`~emsam.data.summary.compare_summaries`; empty where nothing did.

    Raises
    ------
    InputError
        No such version, or one that was published without a summary.
    """
    repository = find_repository()
    known = {version.tag for version in versions(name)}
    summaries = []
    for wanted in (first, second):
        tag = wanted if wanted.startswith("data/") else f"data/{name}/{wanted}"
        if tag not in known:
            listed = ", ".join(sorted(each.rsplit("/", 1)[1] for each in known)) or "none"
            raise InputError(f"{wanted}: no version of {name}; published are {listed}")
        summary = _summary(repository, tag, name)
        if summary is None:
            raise InputError(
                f"{tag}: published before versions had a summary; fetch it with 'dvc get'"
            )
        summaries.append(summary)
    return compare_summaries(summaries[0], summaries[1])


def digest_of(reference: str) -> str:
    """The digest that a tag names; anything else is a digest, or how one begins."""
    if re.fullmatch(r"[0-9a-f]{4,32}(\.dir)?", reference):
        return reference
    if not re.fullmatch(r"data/[^/]+/v\d+", reference):
        raise InputError(
            f"{reference}: neither a digest nor a tag; 'emsam data log NAME' lists both"
        )
    name = reference.split("/")[1]
    for version in versions(name):
        if version.tag == reference:
            return version.digest
    raise InputError(f"{reference}: no such version; see 'emsam data log {name}'")


def _summary(repository: Path, tag: str, name: str) -> Summary | None:
    try:
        document: Summary = json.loads(git(repository, "show", f"{tag}:{summary_file(name)}"))
    except VersioningFailed:
        return None
    return document


def pointer_file(name: str) -> str:
    return f"data/{name}/volume.zarr.dvc"


def summary_file(name: str) -> str:
    return f"data/{name}/summary.json"
