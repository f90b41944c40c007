"""Services as processes: started, asked, stopped, killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import psutil
import pytest

from emsam.errors import InputError, StackFailed
from emsam.processes import is_alive
from emsam.services import RunningService, StackState, address_of, read_state, write_state
from emsam.settings import Settings
from emsam.stack import process, stack
from emsam.stack.service import Service
from emsam.stack.web import NotThere, answers, ask
from tests.ports import free_port

PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(f"ready {child.pid}", flush=True)
time.sleep(600)
"""
DETACHED = PARENT.replace(
    'time.sleep(600)"]', 'time.sleep(600)"], start_new_session=True, cwd=FOLDER'
)
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(600)
"""


def service(*command: str, port: int | None = None, url: str = "", deadline: float = 60) -> Service:
    return Service(
        "example", (sys.executable, *command), {}, url, lambda running: _is_well(running),
        port=port, variable="EMSAM_EXAMPLE_PORT", deadline=deadline,
    )  # fmt: skip


def _is_well(running: RunningService) -> bool:
    return answers(running.url) if running.url else "ready" in Path(running.log).read_text()


def started(tmp_path: Path, code: str) -> RunningService:
    made = service("-u", "-c", code)
    running = process.start(made, tmp_path)
    process.wait_until_well(made, running)
    return running


def test_a_server_answers_and_is_gone_after_its_stop(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    made = service("-m", "http.server", "--bind", "127.0.0.1", str(port), port=port, url=url)
    process.require_free_port(made, "127.0.0.1")
    running = process.start(made, tmp_path)
    process.wait_until_well(made, running)
    assert running.is_alive()
    assert os.getsid(running.pid) == running.pid
    with pytest.raises(InputError, match=f"port {port}.*EMSAM_EXAMPLE_PORT"):
        process.require_free_port(made, "127.0.0.1")
    process.stop(running, 10)
    assert not running.is_alive()
    process.require_free_port(made, "127.0.0.1")


def test_a_service_that_ends_is_told_with_its_last_line(tmp_path: Path) -> None:
    made = service("-c", "print('no such database'); raise SystemExit(1)", url="http://127.0.0.1:9")
    with pytest.raises(StackFailed, match=r"example ended: no such database; see .*example\.log"):
        process.wait_until_well(made, process.start(made, tmp_path))


def test_a_service_is_not_started_where_what_it_needs_cannot_be_made(tmp_path: Path) -> None:
    command = (sys.executable, "-c", "import sys; print('at work'); sys.exit('no room for it')")
    made = replace(service("-c", STUBBORN), prepare=command)
    with pytest.raises(StackFailed, match=r"no room for it; see .*\.log"):
        process.start(made, tmp_path)
    (log,) = tmp_path.iterdir()
    assert log.read_text().splitlines() == ["at work", "no room for it"]


def test_a_service_that_never_answers_has_a_deadline(tmp_path: Path) -> None:
    made = service("-c", "import time; time.sleep(600)", url="http://127.0.0.1:9", deadline=0)
    running = process.start(made, tmp_path)
    with pytest.raises(StackFailed, match="no answer within"):
        process.wait_until_well(made, running)
    process.stop(running, 10)


def test_what_a_killed_service_left_behind_is_ended_with_it(tmp_path: Path) -> None:
    running = started(tmp_path, PARENT)
    child = psutil.Process(int(Path(running.log).read_text().split()[1]))
    os.kill(running.pid, signal.SIGKILL)
    while running.is_alive():
        time.sleep(0.05)
    assert child.is_running()
    process.stop(running, 10)
    assert not is_alive(child)


def test_a_service_that_ignores_sigterm_is_killed_after_its_grace(tmp_path: Path) -> None:
    running = started(tmp_path, STUBBORN)
    process.stop(running, 0.2)
    assert not running.is_alive()


def test_an_id_that_went_to_another_process_is_left_alone(tmp_path: Path) -> None:
    running = started(tmp_path, STUBBORN)
    earlier = replace(running, started=running.started - 3600)
    assert not earlier.is_alive()
    process.stop(earlier, 0)
    assert running.is_alive()
    process.stop(running, 0)


def test_an_address_is_told_only_while_the_service_lives(tmp_path: Path) -> None:
    assert address_of("mlflow", tmp_path) == ""
    running = replace(started(tmp_path, STUBBORN), url="http://127.0.0.1:5000")
    write_state(tmp_path, StackState({"mlflow": running}))
    assert address_of("mlflow", tmp_path) == ""  # it has not answered yet
    write_state(tmp_path, StackState({"mlflow": replace(running, ready=True)}, "digest"))
    assert address_of("mlflow", tmp_path) == "http://127.0.0.1:5000"
    process.stop(running, 0)
    assert address_of("mlflow", tmp_path) == ""
    assert read_state(tmp_path).deployed == "digest"


def test_a_server_that_is_busy_is_asked_again_and_one_that_refuses_is_one_line() -> None:
    replies = [503, 503, 200, 404, 500]

    class Busy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(replies.pop(0))
            self.end_headers()
            self.wfile.write(b'{"ok": true}')

    server = HTTPServer(("127.0.0.1", 0), Busy)
    Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/api"
    try:
        assert ask("GET", url) == {"ok": True}
        with pytest.raises(NotThere):
            ask("GET", url)
        with pytest.raises(StackFailed, match=r"500.*emsam status"):
            ask("GET", url)
    finally:
        server.shutdown()
        server.server_close()
    with pytest.raises(StackFailed, match="refused"):
        ask("GET", url)


def test_a_child_in_a_session_of_its_own_is_left_over_and_a_shell_beside_it_is_not(
    tmp_path: Path,
) -> None:
    """PostgreSQL's processes each lead a session, and outlive their server for a moment."""
    running = started(tmp_path, DETACHED.replace("FOLDER", repr(str(tmp_path))))
    child = psutil.Process(int(Path(running.log).read_text().split()[1]))
    other = subprocess.Popen(["sleep", "600"], cwd=tmp_path)
    os.kill(running.pid, signal.SIGKILL)
    while running.is_alive():
        time.sleep(0.05)
    made = replace(service("-c", ""), folder=tmp_path, command=(child.exe(),))
    try:
        os.kill(child.pid, 0)
        process.end_left_over(made, running)
        assert not is_alive(child)
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_server_that_dies_in_the_middle_of_an_answer_is_one_line() -> None:
    class Dying(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"{")

    server = HTTPServer(("127.0.0.1", 0), Dying)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(StackFailed, match="emsam status"):
            ask("GET", f"http://127.0.0.1:{server.server_port}/api")
    finally:
        server.shutdown()
        server.server_close()


def test_a_service_that_cannot_be_remembered_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[RunningService] = []

    def full(home: Path, state: StackState) -> None:
        begun.append(state.services["example"])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(stack, "write_state", full)
    with pytest.raises(OSError, match="No space"):
        stack._start(service("-c", "import time; time.sleep(600)"), Settings(home=tmp_path))
    assert not begun[0].is_alive()
