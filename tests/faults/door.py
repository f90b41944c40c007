"""A door in front of a server, which a test opens and shuts."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

OPEN, SHUT, MUTE = "open", "shut", "mute"
"""All passes; nobody gets in; requests pass and no answer comes back."""


class Door:
    """Forwards TCP from a port of its own to ``port``.

    Attributes
    ----------
    lose
        The answer to the next request in which these bytes are is lost, as when a server dies
        between a commit and its answer; empty loses nothing.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._mode = SHUT
        self._sockets: set[socket.socket] = set()
        self._lost: set[socket.socket] = set()
        self.lose = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def turn(self, mode: str) -> None:
        """What holds from now on; connections of before are cut."""
        self._mode = mode
        for each in list(self._sockets):
            _cut(each)

    def close(self) -> None:
        self.turn(SHUT)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self._mode == SHUT:
                    client.close()
                    continue
                server = socket.create_connection(("127.0.0.1", self._target))
                self._sockets |= {client, server}
                back = _cut if self._mode == MUTE else client.sendall
                for source, sink, other in (
                    (client, server.sendall, server),
                    (server, back, client),
                ):
                    threading.Thread(
                        target=self._pump, args=(source, sink, other), daemon=True
                    ).start()

    def _pump(self, source: socket.socket, sink: object, other: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if sink is _cut or source in self._lost:  # it was answered; nobody hears it
                    break
                if self.lose and self.lose in data:
                    self.lose = b""
                    self._lost.add(other)
                sink(data)  # type: ignore[operator]
        for each in (source, other):
            _cut(each)
            self._sockets.discard(each)


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
