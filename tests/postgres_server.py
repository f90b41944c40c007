"""A real PostgreSQL server for the tests, in a folder of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port

_READY_IN = 60.0


@contextmanager
def run_postgres_server() -> Iterator[str]:
    """A server that nobody else uses; yields its URL for SQLAlchemy."""
    binaries, owner = _binaries(), _owner()
    folder = Path(tempfile.mkdtemp(prefix="emsam-postgres-"))  # pytest's are closed to others
    if owner:
        shutil.chown(folder, owner)
    as_owner: dict[str, Any] = {"cwd": folder, "stdout": subprocess.DEVNULL}
    if owner:
        as_owner |= {"user": owner, "extra_groups": []}
    try:
        subprocess.run(
            [binaries / "initdb", "-D", folder / "data", "-A", "trust", "-U", "emsam", "-N"],
            check=True, **as_owner,
        )  # fmt: skip
        port = free_port()
        process = subprocess.Popen(
            [binaries / "postgres", "-D", folder / "data", "-p", str(port), "-c", "fsync=off",
             "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
             "-c", "max_connections=200"],
            stderr=(folder / "log").open("wb"), **as_owner,
        )  # fmt: skip
        try:
            _wait(binaries, port, process, folder / "log")
            yield f"postgresql+psycopg2://emsam@127.0.0.1:{port}/postgres"
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    if not found and not on_path:
        pytest.skip("no PostgreSQL server here: apt-get install postgresql")
    return found[-1].parent if found else Path(str(on_path)).parent


def _owner() -> str | None:
    """Who runs it; PostgreSQL refuses to be root."""
    if os.getuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        pytest.skip("PostgreSQL refuses to run as root, and there is no user postgres")


def _wait(binaries: Path, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _READY_IN
    while subprocess.run(
        [binaries / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
    ).returncode:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.1)
