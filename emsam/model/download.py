"""A large file over HTTP, taken up again where a connection broke."""

from __future__ import annotations

from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from emsam.errors import InputError

Progress = Callable[[int, int], None]
"""Called with (done, total), bytes."""
_BLOCK = 1 << 20
_TIMEOUT = 30.0
"""Seconds without a byte after which a connection counts as broken."""
_ELSEWHERE = (
    "check EMSAM_WEIGHTS_URL, or fetch the file in another way and give it with --from FILE"
)


class _Broken(Exception):
    """The connection ended before the file did."""


def download(url: str, part: Path, size: int, progress: Progress | None = None) -> None:
    """Fetch ``url`` into ``part``, which may hold the beginning of it already.

    What is there is not fetched again (an HTTP ``Range`` request), unless the server cannot send
    a part of a file. A connection that breaks is opened again as long as that brings new bytes.
    Whether the bytes are the right ones is for the caller to say.

    Parameters
    ----------
    part
        The file to write; after an error it holds what came, for the next call.
    size
        Length of the whole file, bytes; no more than that is read.

    Raises
    ------
    InputError
        No connection, an HTTP error, a web page, a file of another size, no space.
    """
    try:
        with part.open("ab") as stream:
            if stream.tell() > size:
                _start_anew(stream)
            _receive_all(url, stream, size, progress)
    except OSError as error:
        raise InputError(
            f"{part}: {error.strerror or error}; free space, or set EMSAM_WEIGHTS_ROOT to a "
            "folder that has it"
        ) from None
    finally:
        if part.exists() and not part.stat().st_size:
            part.unlink()  # nothing came


def _receive_all(url: str, stream: IO[bytes], size: int, progress: Progress | None) -> None:
    furthest = stream.tell()
    while stream.tell() < size:
        try:
            _receive(url, stream, size, progress)
        except _Broken as broken:
            if stream.tell() <= furthest:
                raise InputError(
                    f"{url}: the connection broke after {stream.tell():,} of {size:,} bytes "
                    f"({broken}); run the same command again to go on"
                ) from None
            furthest = stream.tell()


def _receive(url: str, stream: IO[bytes], size: int, progress: Progress | None) -> None:
    """One request for all that is missing; appends what comes."""
    with _open(url, stream.tell()) as response:
        if stream.tell() and response.status != 206:  # all of it, though the rest was asked for
            _start_anew(stream)
        _refuse_another_file(url, response, stream.tell(), size)
        while missing := size - stream.tell():
            try:
                block = response.read(min(_BLOCK, missing))
            except (OSError, HTTPException) as error:
                raise _Broken(str(error) or type(error).__name__) from None
            if not block:
                raise _Broken("the server sent no more")
            stream.write(block)
            if progress:
                progress(stream.tell(), size)


def _open(url: str, start: int) -> HTTPResponse:
    if not url.startswith(("https://", "http://")):
        raise InputError(f"{url}: no address of the web; {_ELSEWHERE}")
    headers = {"User-Agent": "emsam"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        return urlopen(Request(url, headers=headers), timeout=_TIMEOUT)
    except HTTPError as error:
        raise InputError(f"{url}: HTTP {error.code} {error.reason}; {_ELSEWHERE}") from None
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise InputError(f"{url}: cannot be reached ({reason}); {_ELSEWHERE}") from None


def _refuse_another_file(url: str, response: HTTPResponse, start: int, size: int) -> None:
    if response.headers.get_content_type() == "text/html":
        raise InputError(f"{url}: the server answers with a web page, not a file; {_ELSEWHERE}")
    length = response.headers.get("Content-Length", "")
    if length.isdecimal() and start + int(length) != size:
        raise InputError(
            f"{url}: a file of {start + int(length):,} bytes, not {size:,}; {_ELSEWHERE}"
        )


def _start_anew(stream: IO[bytes]) -> None:
    stream.seek(0)
    stream.truncate()
