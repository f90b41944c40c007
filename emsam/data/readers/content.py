"""What a file really holds, by its first bytes, before a library opens it."""

from __future__ import annotations

from pathlib import Path

from emsam.errors import InputError


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
            start = stream.read(512).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    except OSError as error:
        raise InputError(
            f"{name}: may not be read ({error.strerror}); change its permissions"
        ) from None
    if not start:
        raise InputError(f"{name}: is empty; copy it again")
    if start.startswith((b"<!doctype html", b"<html")):
        raise InputError(
            f"{name}: is a web page, not an image; download the file itself, perhaps logged in"
        )
    if start.startswith(b"version https://git-lfs"):
        raise InputError(f"{name}: is a pointer of Git LFS; fetch the file with 'git lfs pull'")
