"""A large file over HTTP, taken up again where a connection broke."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from emsam.data.readers.content import is_web_page
from emsam.documents import write_whole
from emsam.errors import InputError
from emsam.progress import Progress

_BLOCK = 1 << 20
_TIMEOUT = 30.0
"""Seconds without a byte after which a connection counts as broken."""


@dataclass(frozen=True)
class Remedies:
    """How an error message ends: what to do about an address, and about a full disk."""

    elsewhere: str
    space: str


class _Broken(Exception):
    """The connection ended before the file did."""


def download(
    url: str,
    part: Path,
    size: int | None,
    remedies: Remedies,
    progress: Progress | None = None,
) -> None:
    """Fetch ``url`` into ``part``, which may hold the beginning of it already.

    What is there is not fetched again (an HTTP ``Range`` request), unless the server cannot send
    a part of a file. A connection that breaks is opened again as long as that brings new bytes.
    Whether the bytes are the right ones is for the caller to say.

    Parameters
    ----------
    part
        The file to write; after an error it holds what came, for the next call.
    size
        Length of the whole file, bytes; no more than that is read. ``None`` if only the server
        knows it: then what it says of the file lies in :func:`record_of` ``part``, so that two
        versions of a file are never mixed; the caller removes it with ``part``.
    progress
        Called with (done, total) bytes.

    Raises
    ------
    InputError
        No connection, an HTTP error, a web page, a file of another or unknown size, no space.
    """
    record = None if size is not None else record_of(part)
    try:
        with part.open("ab") as stream:
            _Transfer(url, stream, size, record, remedies, progress).receive_all()
    except OSError as error:
        raise InputError(f"{part}: {error.strerror or error}; {remedies.space}") from None
    finally:
        if part.exists() and not part.stat().st_size:
            part.unlink()  # nothing came
            if record is not None:
                record.unlink(missing_ok=True)


def record_of(part: Path) -> Path:
    """What the server said of a file whose size nobody else knows."""
    return part.with_name(f"{part.name}.json")


class _Transfer:
    """One file on its way; ``size`` becomes known with the first answer."""

    def __init__(
        self,
        url: str,
        stream: IO[bytes],
        size: int | None,
        record: Path | None,
        remedies: Remedies,
        progress: Progress | None,
    ) -> None:
        self._url, self._stream, self._size = url, stream, size
        self._record, self._elsewhere, self._progress = record, remedies.elsewhere, progress
        self._known = _read(record)
        if (record and not self._known) or (size is not None and stream.tell() > size):
            self._start_anew()
        if record:
            self._size = self._known.get("size")

    def receive_all(self) -> None:
        furthest = self._stream.tell()
        while self._size is None or self._stream.tell() < self._size:
            try:
                self._receive()
            except _Broken as broken:
                came = self._stream.tell()
                if came <= furthest:
                    of = f"of {self._size:,} bytes" if self._size else "bytes"
                    raise InputError(
                        f"{self._url}: the connection broke after {came:,} {of} ({broken}); "
                        "run the same command again to go on"
                    ) from None
                furthest = came

    def _receive(self) -> None:
        """One request for all that is missing; appends what comes."""
        start = self._stream.tell()
        with self._open(start) as response:
            if start and (response.status != 206 or not self._same_file(response)):
                self._start_anew()  # all of it, though the rest was asked for, or another file
                if response.status == 206:
                    raise _Broken("the file changed on the server")
            self._refuse_another_file(response)
            self._note(response)
            self._append(response)

    def _append(self, response: HTTPResponse) -> None:
        while self._size is None or self._stream.tell() < self._size:
            missing = _BLOCK if self._size is None else self._size - self._stream.tell()
            try:
                block = response.read(min(_BLOCK, missing))
            except (OSError, HTTPException) as error:
                raise _Broken(str(error) or type(error).__name__) from None
            if not block and self._size is None:  # the last chunk of an answer in chunks
                self._size = self._stream.tell()
                return
            if not block:
                raise _Broken("the server sent no more")
            if not self._stream.tell() and is_web_page(block):
                raise self._web_page(response)
            self._stream.write(block)
            if self._progress:
                self._progress(self._stream.tell(), self._size or 0)

    def _open(self, start: int) -> HTTPResponse:
        if not self._url.startswith(("https://", "http://")):
            raise InputError(f"{self._url}: no address of the web; {self._elsewhere}")
        headers = {"User-Agent": "emsam"} | ({"Range": f"bytes={start}-"} if start else {})
        if start and self._known.get("validator"):
            headers["If-Range"] = self._known["validator"]
        try:
            return urlopen(Request(self._url, headers=headers), timeout=_TIMEOUT)
        except HTTPError as error:
            raise InputError(
                f"{self._url}: HTTP {error.code} {error.reason}; {self._elsewhere}"
            ) from None
        except (OSError, HTTPException, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise InputError(
                f"{self._url}: cannot be reached ({reason}); {self._elsewhere}"
            ) from None

    def _same_file(self, response: HTTPResponse) -> bool:
        """Whether the rest that was asked for belongs to what is here."""
        return self._record is None or _whole_size(response) == self._known.get("size")

    def _refuse_another_file(self, response: HTTPResponse) -> None:
        if response.headers.get_content_type() == "text/html":
            raise self._web_page(response)
        length = response.headers.get("Content-Length", "")
        start = self._stream.tell()
        if self._size is None:
            in_chunks = "chunked" in response.headers.get("Transfer-Encoding", "").lower()
            if not length.isdecimal() and not in_chunks:
                raise InputError(
                    f"{self._url}: the server does not say how long the file is, so nobody can "
                    f"tell whether it is whole; {self._elsewhere}"
                )
        elif length.isdecimal() and start + int(length) != self._size:
            raise InputError(
                f"{self._url}: a file of {start + int(length):,} bytes, not {self._size:,}; "
                f"{self._elsewhere}"
            )

    def _web_page(self, response: HTTPResponse) -> InputError:
        where = f" ({response.url})" if response.url != self._url else ""
        return InputError(
            f"{self._url}: the server answers with a web page, not a file{where}; {self._elsewhere}"
        )

    def _note(self, response: HTTPResponse) -> None:
        """Before the first byte: what the server says of a file whose size nobody told."""
        if self._record is None or self._stream.tell():
            return
        self._size = _whole_size(response)
        tag = response.headers.get("ETag", "")
        strong = tag if tag.startswith('"') else ""
        validator = strong or response.headers.get("Last-Modified", "")
        self._known = {"size": self._size, "validator": validator}
        if self._size is not None:  # without a size there is no resuming
            write_whole(self._record, json.dumps(self._known))

    def _start_anew(self) -> None:
        if self._stream.tell():
            self._stream.seek(0)
            self._stream.truncate()
        self._known = {}
        if self._record is not None:
            self._size = None
            self._record.unlink(missing_ok=True)


def _whole_size(response: HTTPResponse) -> int | None:
    """Length of the whole file as an answer with all of it or with its end says it."""
    if response.status == 206:
        match = re.fullmatch(r"bytes \d+-\d+/(\d+)", response.headers.get("Content-Range", ""))
        return int(match[1]) if match else None
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _read(record: Path | None) -> dict[str, Any]:
    try:
        known = json.loads(record.read_text()) if record else {}
        return known if isinstance(known.get("size"), int) else {}
    except (OSError, ValueError, AttributeError):
        return {}
