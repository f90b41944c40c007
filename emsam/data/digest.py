"""The version of a data set, which is the digest that DVC gives a folder; digests of files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import xxhash

from emsam.errors import InputError

_BLOCK = 1 << 20


def folder_digest(folder: Path) -> str:
    """Digest of ``folder`` as DVC 3 computes it: ``"<md5>.dir"``.

    The md5 of a JSON list of every file's md5 and relative path. It is computed here, without
    DVC, so that a training machine can say which data it saw and notice a changed file.

    Raises
    ------
    InputError
        The folder is missing or holds no file.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if not files:
        raise InputError(f"{folder}: no such volume; ingest it first with 'emsam data ingest'")
    entries = [
        {"md5": file_md5(path), "relpath": path.relative_to(folder).as_posix()} for path in files
    ]
    entries.sort(key=lambda entry: entry["relpath"])
    return hashlib.md5(json.dumps(entries).encode(), usedforsecurity=False).hexdigest() + ".dir"


def file_md5(path: Path) -> str:
    """Hexadecimal md5 of a file's bytes."""
    md5 = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            md5.update(block)
    return md5.hexdigest()


def file_xxh3(path: Path) -> str:
    """``"xxh3:"`` and the hexadecimal 128-bit XXH3 of a file's bytes.

    It tells a changed file from an unchanged one as fast as memory is read; against somebody who
    forges a file it says nothing.
    """
    digest, block = xxhash.xxh3_128(), memoryview(bytearray(_BLOCK))
    with path.open("rb", buffering=0) as stream:
        while length := stream.readinto(block):
            digest.update(block[:length])
    return f"xxh3:{digest.hexdigest()}"


def file_sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
