"""Archives from the web, unpacked without trusting them."""

from __future__ import annotations

import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from emsam.errors import InputError, one_line
from emsam.progress import Progress

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
_BLOCK = 1 << 20
Member = tuple[PurePosixPath, int, Callable[[], IO[bytes] | None]]
"""Path, bytes, and how to open it."""


def is_archive(path: Path) -> bool:
    """Whether a file's name ends as that of an archive."""
    return path.name.lower().endswith(ARCHIVE_SUFFIXES)


def is_wanted(path: PurePosixPath, patterns: Sequence[str]) -> bool:
    """Whether the end of a path matches one of ``patterns``; hidden files never do."""
    return not path.name.startswith(".") and any(path.match(each) for each in patterns)


def unpack(
    archive: Path,
    folder: Path,
    patterns: Sequence[str],
    most: int,
    progress: Progress | None = None,
) -> None:
    """Unpack the members whose path matches one of ``patterns`` into ``folder``.

    Parameters
    ----------
    most
        Bytes that all of them may have together; a small file can unpack to more than a disk.
    progress
        Called with (done, total) bytes.

    Raises
    ------
    InputError
        No archive or a damaged one, links, passwords, paths that lead out of ``folder``, more
        than ``most`` bytes, no space. What was unpacked stays for the caller to remove.
    """
    with _reading(archive), _members(archive) as members:
        wanted = [each for each in members if is_wanted(each[0], patterns)]
        total = sum(size for _, size, _ in wanted)
        done = 0
        for path, _, opened in wanted:
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            source = opened()
            if source is None:
                raise InputError(f"{archive}: {path} is no file; take the archive of the source")
            with source, target.open("xb") as stream:
                while block := source.read(_BLOCK):
                    done += len(block)
                    if done > most:  # what the archive says of sizes is not trusted
                        raise InputError(
                            f"{archive}: unpacks to more than {most:,} bytes, which this data set "
                            "never has; take the archive of the source"
                        )
                    stream.write(block)
                    if progress:
                        progress(done, total)


@contextmanager
def _members(archive: Path) -> Iterator[list[Member]]:
    if archive.name.lower().endswith(".zip"):
        with zipfile.ZipFile(archive) as file:
            yield [_zip_member(archive, file, each) for each in file.infolist() if _is_file(each)]
        return
    with tarfile.open(archive) as file:
        yield [_tar_member(archive, file, each) for each in file if not each.isdir()]


def _is_file(member: zipfile.ZipInfo) -> bool:
    return not member.is_dir()


def _zip_member(archive: Path, file: zipfile.ZipFile, member: zipfile.ZipInfo) -> Member:
    path = _safe(archive, member.filename)
    if stat.S_ISLNK(member.external_attr >> 16):
        raise InputError(f"{archive}: {path} is a link; take the archive of the source")
    return path, member.file_size, lambda: file.open(member)


def _tar_member(archive: Path, file: tarfile.TarFile, member: tarfile.TarInfo) -> Member:
    path = _safe(archive, member.name)
    if not member.isreg():
        raise InputError(f"{archive}: {path} is a link or a device; take the archive of the source")
    return path, member.size, lambda: file.extractfile(member)


def _safe(archive: Path, name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or "\0" in name:
        raise InputError(
            f"{archive}: {name!r} leads out of the archive; take the archive of the source"
        )
    return path


@contextmanager
def _reading(archive: Path) -> Iterator[None]:
    """What a damaged archive raises, in one line."""
    try:
        yield
    except FileExistsError as error:
        raise InputError(f"{archive}: has {Path(error.filename).name} twice") from None
    except InputError:
        raise
    except RuntimeError as error:  # a password, an unknown compression
        raise InputError(f"{archive}: cannot be unpacked ({error}); unpack it yourself") from None
    except OSError as error:
        raise InputError(
            f"{archive}: cannot be unpacked ({error.strerror or error}); it needs space where "
            "EMSAM_DOWNLOADS_ROOT is"
        ) from None
    except Exception as error:  # zipfile, tarfile and each codec raise many kinds
        raise InputError(
            f"{archive}: cannot be unpacked ({one_line(error)}); it is truncated or damaged, fetch "
            "it again"
        ) from None
