"""What a file really holds, by its first bytes, before a library opens it."""

from __future__ import annotations

from pathlib import Path

from emsam.errors import InputError

_PADDING = b"\xef\xbb\xbf \t\r\n"
"""A byte order mark and white space."""


def refuse_other_content(path: Path, name: str) -> None:
    """Refuse what a failed download leaves in place of an image.

    Raises
    ------
    InputError
        No file, an empty file, a web page or a pointer of Git LFS.
    """
    if not path.is_file():
        raise InputError(f"{name}: not a file; name an image file or a folder of slices")
    try:
        with path.open("rb") as stream:
            start = stream.read(512)
    except OSError as error:
        raise InputError(
            f"{name}: may not be read ({error.strerror}); change its permissions"
        ) from None
    if not start.strip(_PADDING):
        raise InputError(f"{name}: is empty; copy it again")
    if is_web_page(start):
        raise InputError(
            f"{name}: is a web page, not an image; download the file itself, perhaps logged in"
        )
    if start.lstrip(_PADDING).lower().startswith(b"version https://git-lfs"):
        raise InputError(f"{name}: is a pointer of Git LFS; fetch the file with 'git lfs pull'")


def is_web_page(start: bytes) -> bool:
    """Whether a file that begins with ``start`` is HTML."""
    return start[:512].lstrip(_PADDING).lower().startswith((b"<!doctype html", b"<html"))
