"""A web server with the faults that a download meets."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_BLOCK = 1 << 18


@dataclass
class WebServer:
    """Serves the files of a folder; what it does wrong is set by its attributes.

    Attributes
    ----------
    ranges
        Whether it can send a part of a file.
    breaks
        Bytes of a body after which the next answers end, one for each; then it answers well.
    pause
        Seconds between blocks.
    headers
        Sent in place of the usual ones; an empty one is not sent.
    redirects
        By path, where a request is sent on to.
    asked
        The ``Range`` of every request so far, empty where there was none.
    """

    folder: Path
    url: str = ""
    ranges: bool = True
    breaks: list[int] = field(default_factory=list)
    pause: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        wanted = request.headers.get("Range", "")
        self.asked.append(wanted)
        if request.path in self.redirects:
            request.send_response(302)
            request.send_header("Location", self.redirects[request.path])
            request.end_headers()
            return
        file = self.folder / request.path.lstrip("/")
        if not file.is_file():
            request.send_error(404)
            return
        size = file.stat().st_size
        tag = f'"{file.stat().st_mtime_ns:x}-{size:x}"'
        same = request.headers.get("If-Range", tag) == tag
        match = re.fullmatch(r"bytes=(\d+)-", wanted) if self.ranges and same else None
        start = int(match[1]) if match else 0
        headers = {
            "Content-Type": "text/html" if file.suffix == ".html" else "binary/octet-stream",
            "Content-Length": str(size - start),
            "ETag": tag,
        }
        if match:
            headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        request.send_response(206 if match else 200)
        for name, value in (headers | self.headers).items():
            if value:
                request.send_header(name, value)
        request.end_headers()
        self._send(request, file, start, self.breaks.pop(0) if self.breaks else size)

    def _send(self, request: BaseHTTPRequestHandler, file: Path, start: int, most: int) -> None:
        with file.open("rb") as stream:
            stream.seek(start)
            while most and (block := stream.read(min(_BLOCK, most))):
                try:
                    request.wfile.write(block)
                except OSError:  # the client went away
                    return
                most -= len(block)
                time.sleep(self.pause)


@contextmanager
def serve(folder: Path) -> Iterator[WebServer]:
    """A server of ``folder`` on a free port of this machine."""
    server = WebServer(folder)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.answer(self)

        def log_message(self, format: str, *args: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
