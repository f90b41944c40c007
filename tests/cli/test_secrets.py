"""Secrets in the environment, and servers that are away or want others: what commands say then."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from emsam.settings import Settings
from tests.canaries import CANARIES, CANARY, holders
from tests.cli.conftest import Run

AWAY = "127.0.0.1:9"


class Refusing(BaseHTTPRequestHandler):
    """Knows nobody, and says so as MLflow's basic auth does."""

    heard: list[str]

    def do_POST(self) -> None:
        self.heard.append(self.headers.get("Authorization", ""))
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="mlflow"')
        self.end_headers()
        self.wfile.write(b"You are not authenticated.")

    do_GET = do_POST  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def refusing() -> Iterator[str]:
    """Address of a server that refuses everybody."""
    Refusing.heard = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def canaries(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in CANARIES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{AWAY}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return monkeypatch


@pytest.mark.parametrize(
    "arguments",
    [
        ["registry", "log", "emsam-neurites"],
        ["promote", "emsam-neurites/1", "--data", "tiny", "--split", "test"],
        ["segment", "em.tif", "--model", "champion", "--out", "ids.tif"],
        ["data", "ingest", "a", "--image", "s3://bucket/em.tif", "--voxel-size", "5,5,5"],
        ["weights", "get", "vit_b"],
        ["data", "get", "isbi2012_vnc"],
        ["registry", "verify", "emsam-neurites"],
    ],
    ids=lambda each: " ".join(each[:2]),
)
def test_a_server_that_is_away_is_named_without_secrets(
    arguments: list[str], typed: Run, canaries: pytest.MonkeyPatch, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    canaries.setenv("EMSAM_MLFLOW_URI", f"http://ada:{CANARY}@{AWAY}")
    canaries.setenv("EMSAM_LEDGER_URI", f"postgresql://ada:{CANARY}@{AWAY}/em")
    for name in ("WEIGHTS", "DOWNLOADS"):
        canaries.setenv(f"EMSAM_{name}_ROOT", str(tmp_path / name.lower()))
    with caplog.at_level(logging.DEBUG, "emsam"):
        status, out, err = typed(*arguments)
    assert status in (1, 2)
    assert "Traceback" not in err
    assert err.count("\n") >= 1
    assert CANARY not in out + err
    assert CANARY not in "".join(
        each.getMessage() for each in caplog.records if each.name[:5] == "emsam"
    )
    assert holders(tmp_path) == []


@pytest.mark.parametrize("where", ["address", "environment"])
def test_a_password_that_is_refused_is_not_quoted(
    where: str, typed: Run, canaries: pytest.MonkeyPatch, refusing: str, tmp_path: Path
) -> None:
    login = f"ada:{CANARY}@" if where == "address" else ""
    canaries.setenv("EMSAM_MLFLOW_URI", f"http://{login}{refusing}")
    status, out, err = typed("registry", "log", "emsam-neurites")
    assert (status, out) == (1, "")
    assert "401" in err
    assert CANARY not in err
    assert any(each.startswith("Basic ") for each in Refusing.heard)
    assert holders(tmp_path) == []


def test_settings_can_be_printed(canaries: pytest.MonkeyPatch) -> None:
    shown = repr(Settings()) + json.dumps(Settings().model_dump(mode="json"), default=str)
    assert f"{CANARY}-notify" not in shown
