"""The file of a backup: a tar whose last member has the sha256 of each of the others."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from emsam.documents import document_digest, sync_path
from emsam.errors import InputError, one_line

MANIFEST = "manifest.json"
FORMAT = 1
_BLOCK = 1 << 20


class ArchiveWriter:
    """Members of a backup, written one after the other."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._members: dict[str, dict[str, Any]] = {}

    def add(self, name: str, source: IO[bytes], size: int) -> None:
        """The next ``size`` bytes of ``source``.

        Raises
        ------
        EOFError
            There are fewer.
        """
        info = tarfile.TarInfo(name)
        info.size, info.mode = size, 0o600
        reader = _Digesting(source)
        try:
            self._tar.addfile(info, reader)  # type: ignore[arg-type]
        except OSError as error:
            if "unexpected end of data" in str(error):
                raise EOFError(name) from None
            raise
        self._members[name] = {"size": size, "sha256": reader.digest.hexdigest()}

    def add_file(self, name: str, path: Path) -> None:
        """A file as it is now; what is appended meanwhile is left out."""
        with path.open("rb") as stream:
            self.add(name, stream, os.fstat(stream.fileno()).st_size)

    def finish(self, about: dict[str, Any]) -> dict[str, Any]:
        """Write the manifest; returns it."""
        manifest = {"format": FORMAT, **about, "members": self._members}
        manifest["sha256"] = document_digest(manifest)
        text = json.dumps(manifest, indent=1).encode()
        info = tarfile.TarInfo(MANIFEST)
        info.size, info.mode = len(text), 0o600
        self._tar.addfile(info, io.BytesIO(text))
        return manifest


class _Digesting:
    """A stream that remembers the digest of what was read from it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()

    def read(self, size: int) -> bytes:
        parts, left = [], size
        while left and (part := self._stream.read(left)):  # a socket gives what it has
            parts.append(part)
            left -= len(part)
        block = b"".join(parts)
        self.digest.update(block)
        return block


@contextmanager
def new_archive(final: Path) -> Iterator[tuple[ArchiveWriter, Path]]:
    """An archive that gets its name when it is whole; yields it and where it is until then.

    Raises
    ------
    InputError
        There is a file of that name, or no folder to put it in.
    """
    if final.exists():
        raise _taken(final)
    if not final.parent.is_dir():
        raise InputError(f"{final.parent}: no such folder; make it first")
    part = final.with_name(f".{final.name}.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as error:
        raise InputError(f"{final.parent}: {error.strerror}; name another folder") from None
    try:
        with os.fdopen(descriptor, "wb") as stream:
            with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
                yield ArchiveWriter(tar), part
            stream.flush()
            os.fsync(stream.fileno())
        verify(part)
        _name(part, final)
        sync_path(final.parent)
    finally:
        part.unlink(missing_ok=True)


def _name(part: Path, final: Path) -> None:
    """Unlike a rename a link overwrites nothing, but some file systems have none."""
    try:
        os.link(part, final)
    except FileExistsError:
        raise _taken(final) from None
    except OSError:
        if final.exists():
            raise _taken(final) from None
        part.rename(final)


def _taken(final: Path) -> InputError:
    return InputError(f"{final}: is there already, and no backup is overwritten; name another")


def verify(file: Path) -> dict[str, Any]:
    """Read all of a backup; returns its manifest.

    Raises
    ------
    InputError
        It is no backup, or not what was written: something is missing, added or altered.
    """
    found: dict[str, dict[str, Any]] = {}
    text = b""
    with _reading(file):
        for member, stream in members(file):
            if text:
                raise _damaged(file, f"{member.name} lies behind the manifest")
            if member.name == MANIFEST:
                text = stream.read()
                continue
            digest = hashlib.sha256()
            while block := stream.read(_BLOCK):
                digest.update(block)
            found[member.name] = {"size": member.size, "sha256": digest.hexdigest()}
    manifest = _manifest(file, text)
    if manifest["members"] != found:
        wrong = sorted(
            name
            for name in {*found, *manifest["members"]}
            if found.get(name) != manifest["members"].get(name)
        )
        raise _damaged(file, f"{wrong[0]} is not what was written")
    return manifest


def members(file: Path) -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
    """Each member and its content, which is to be read before the next.

    Raises
    ------
    InputError
        The file cannot be read to its end, or holds anything but files.
    """
    with _reading(file), tarfile.open(file, "r:") as tar:
        for member in tar:
            stream = tar.extractfile(member) if member.isreg() else None
            if stream is None:
                raise _damaged(file, f"{member.name[:80]!r} is no file")
            yield member, stream


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    """Whatever a damaged tar makes of its reader becomes one line."""
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{file}: no such file; name a backup") from None
    except (tarfile.TarError, EOFError, ValueError, OSError) as error:
        if isinstance(error, InputError):
            raise
        raise _damaged(file, one_line(error)) from None


def _manifest(file: Path, text: bytes) -> dict[str, Any]:
    """The manifest, if it says of itself what it says."""
    if not text:
        raise _damaged(file, "it ends before its manifest")
    try:
        manifest = dict(json.loads(text))
        said = manifest.pop("sha256")
        whole = document_digest(manifest) == said and isinstance(manifest["members"], dict)
    except (ValueError, TypeError, KeyError, RecursionError):
        whole = False
    if not whole:
        raise _damaged(file, "its manifest is not what was written")
    if manifest["format"] != FORMAT:
        raise InputError(f"{file}: is of a newer EM-SAM; restore it with that")
    return manifest


def _damaged(file: Path, why: str) -> InputError:
    return InputError(f"{file}: no whole backup ({why}); take another one")
