"""TCP ports for the servers of tests, where neither clients nor other workers of pytest take them.

Connections of clients, and whoever binds to port 0, get a port of the system's ephemeral range, at
any moment between the choice of a port and the start of its server. These ports lie below it.
"""

from __future__ import annotations

import itertools
import os
import socket

_FIRST, _EACH = 10_240, 600
"""Of the ports of a pytest-xdist worker; sixteen workers have some of their own."""
BESIDE = 10_000
"""SeaweedFS also takes each of its ports plus this."""
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 16
_turn = itertools.count(os.getpid())  # two suites at once rarely begin at the same port


def free_port() -> int:
    """A port that nobody listens on, nor on the one ``BESIDE`` it."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Ports in a row, each of them and each plus ``BESIDE`` free; none is given twice soon."""
    for _ in range(_EACH):
        found = [_FIRST + _EACH * _worker + next(_turn) % _EACH for _ in range(count)]
        in_a_row = found[-1] - found[0] == count - 1
        if in_a_row and all(map(_is_free, found + [port + BESIDE for port in found])):
            return found
    raise OSError(f"no {count} free ports from {_FIRST + _EACH * _worker} on")


def _is_free(port: int) -> bool:
    try:
        with socket.create_server(("127.0.0.1", port)):
            return True
    except OSError:
        return False
