"""A service as a process: detached, leader of a session of its own, its output in a file."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from emsam.documents import last_line
from emsam.errors import InputError, StackFailed
from emsam.processes import CLOCK, is_alive
from emsam.services import RunningService
from emsam.stack.postgres import as_account
from emsam.stack.service import Service

_POLL = 0.3


def start(service: Service, logs: Path) -> RunningService:
    """Start a service; it goes on when this process ends, and Ctrl-C here does not reach it.

    Raises
    ------
    StackFailed
        What has to be done before it failed.
    """
    logs.mkdir(parents=True, exist_ok=True)
    log = logs / f"{service.name}.log"
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = os.environ | service.environment | {"PATH": path, "PYTHONUNBUFFERED": "1"}
    _hear_ctrl_c()
    with log.open("ab") as stream:
        how: dict[str, Any] = {
            "env": environment, "stdin": subprocess.DEVNULL, "stdout": stream,
            "stderr": subprocess.STDOUT, "cwd": service.folder, **as_account(service.user),
        }  # fmt: skip
        if service.prepare and subprocess.run(service.prepare, **how).returncode:
            raise StackFailed(f"{service.name}: {last_line(log)}; see {log}")
        process = subprocess.Popen(service.command, start_new_session=True, **how)
    process.returncode = 0  # whoever comes later stops it; nobody waits for it here
    started = psutil.Process(process.pid).create_time()
    return RunningService(process.pid, started, service.url, str(log.absolute()))


def _hear_ctrl_c() -> None:
    """A shell's background job ignores SIGINT and hands that down; workers listen to it."""
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if ignored and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)


def wait_until_well(service: Service, running: RunningService) -> None:
    """Wait for the first answer.

    Raises
    ------
    StackFailed
        The service ended, or gave no answer before its deadline.
    """
    until = time.monotonic() + service.deadline
    while not service.is_well(running):
        if not running.is_alive():
            said = last_line(Path(running.log)) or "it printed nothing"
            raise StackFailed(f"{service.name} ended: {said}; see {running.log}")
        if time.monotonic() > until:
            raise StackFailed(
                f"{service.name} gave no answer within {service.deadline:.0f} s; see "
                f"{running.log}, and stop it with 'emsam down'"
            )
        time.sleep(_POLL)


def stop(running: RunningService, grace: float, number: signal.Signals = signal.SIGTERM) -> None:
    """A signal to the whole session of a service, SIGKILL to what is left after ``grace``."""
    end(session(running), grace, number)


def end_left_over(service: Service, running: RunningService) -> None:
    """End what a killed service left: its session, and its program wherever in its folder."""
    end([*session(running), *_working_for(service)], service.grace)


def _working_for(service: Service) -> list[psutil.Process]:
    """Live processes of a service's program in its folder; PostgreSQL's each lead a session."""
    found = []
    for process in psutil.process_iter() if service.folder else ():
        with suppress(psutil.Error):
            here = process.cwd() == str(service.folder)
            ours = Path(process.exe()).name == Path(service.command[0]).name
            if here and ours and is_alive(process):
                found.append(process)
    return found


def session(running: RunningService) -> list[psutil.Process]:
    """Live processes of the session that a service leads, or led before it was killed."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, ProcessLookupError, PermissionError):
            if os.getsid(process.pid) != running.pid:
                continue
            created = process.create_time()
            if process.pid == running.pid and abs(created - running.started) > CLOCK:
                return []  # the id leads another session now, so nothing of the old one is left
            if is_alive(process) and created > running.started - CLOCK:
                found.append(process)
    return found


def end(
    processes: list[psutil.Process], grace: float, number: signal.Signals = signal.SIGTERM
) -> None:
    """A signal, and SIGKILL to those that are left after ``grace`` seconds."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)
    until = time.monotonic() + grace
    while (left := [each for each in processes if is_alive(each)]) and time.monotonic() < until:
        time.sleep(0.1)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    while any(is_alive(each) for each in left):
        time.sleep(0.1)


def require_free_port(service: Service, listen: str) -> None:
    """Refuse a port that somebody else listens on.

    Raises
    ------
    InputError
        With the process that has it, where the system tells.
    """
    for port in (service.port, *service.more_ports) if service.port else ():
        _require_free(port, service, listen)


def _require_free(port: int, service: Service, listen: str) -> None:
    family = socket.AF_INET6 if ":" in listen else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((listen, port))
        except OSError as error:
            raise InputError(
                f"port {port} for {service.name}: {error.strerror}{_owner(port)}; "
                f"free it, or set {service.variable} to another port"
            ) from None


def _owner(port: int) -> str:
    with suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            here = getattr(connection.laddr, "port", None)
            if connection.status == psutil.CONN_LISTEN and here == port:
                if connection.pid:
                    name = " ".join(psutil.Process(connection.pid).cmdline())[:60]
                    return f" (process {connection.pid}: {name})"
                break
    return ""
