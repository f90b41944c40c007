"""Publishing to a real S3 server over a line that fails, killed, crowded and out of space."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from emsam.data.digest import folder_digest
from tests.conftest import Laboratory, make_laboratory
from tests.s3_server import KEY, SECRET, Line, S3Server, run_line, server

__all__ = ["server"]

pytestmark = pytest.mark.slow

UNAVAILABLE = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
STEPS = ("adding tiny to DVC", "pushing to", "pulling it back", "published")


@dataclass
class RemoteLaboratory(Laboratory):
    """A laboratory whose DVC remote is on S3.

    Attributes
    ----------
    access
        Variables with the server's address and credentials.
    """

    access: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | self.access


@pytest.fixture
def line(server: S3Server) -> Iterator[Line]:
    with run_line(server) as way:
        yield way


@pytest.fixture
def lab(tmp_path: Path, server: S3Server, line: Line) -> RemoteLaboratory:
    """One with a volume, which reaches the server over ``line``."""
    remote = f"s3://emsam/{tmp_path.name}"
    access = server.environment(line.url) | {"EMSAM_DVC_REMOTE": remote}
    made = RemoteLaboratory(make_laboratory(tmp_path / "lab").path, access=access)
    made.run("data", "synthetic", "tiny", "--shape", "8,64,64")
    return made


def assert_finishes(lab: RemoteLaboratory) -> None:
    """The same command again publishes what anybody can fetch."""
    assert lab.git("tag", "--list") in ("", "data/tiny/v1")
    digest = folder_digest(lab.path / "data/tiny/volume.zarr")
    assert lab.json("data", "publish", "tiny")["digest"] == digest
    assert [each["tag"] for each in lab.json("data", "log", "tiny")] == ["data/tiny/v1"]
    fetched = lab.path.parent / "fetched.zarr"
    subprocess.run(
        [*lab.command()[:2], "dvc", "get", "--quiet", str(lab.path), "data/tiny/volume.zarr",
         "--rev", "data/tiny/v1", "--out", str(fetched)],
        check=True, env=lab.environment,
    )  # fmt: skip
    assert folder_digest(fetched) == digest
    assert lab.git("status", "--porcelain") == ""
    assert lab.git("worktree", "list").count("\n") == 0


def test_a_version_on_s3_can_be_fetched_and_no_secret_stays(lab: RemoteLaboratory) -> None:
    said = lab.run("data", "publish", "tiny")
    assert_finishes(lab)
    for path in lab.path.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path
    assert SECRET not in said.stdout + said.stderr


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("unavailable", "Service Unavailable"),
        ("refused", "Could not connect"),
        ("secret", "Forbidden"),
        ("bucket", "does not exist"),
    ],
)
def test_a_remote_that_does_not_take_it_is_one_line_and_no_version(
    lab: RemoteLaboratory, line: Line, fault: str, said: str
) -> None:
    right = dict(lab.access)
    if fault == "unavailable":
        line.answer = UNAVAILABLE
    elif fault == "refused":
        lab.access["AWS_ENDPOINT_URL"] = "http://127.0.0.1:9"
    elif fault == "secret":
        lab.access["AWS_SECRET_ACCESS_KEY"] = "another"
    else:
        lab.access["EMSAM_DVC_REMOTE"] = "s3://nobody-made-this/dvc"
    failed = lab.run("data", "publish", "tiny", status=1)
    (message,) = [each for each in failed.stderr.splitlines() if each.startswith("emsam: ")]
    assert message.startswith(f"emsam: {lab.access['EMSAM_DVC_REMOTE']}: dvc push")
    assert said in message
    assert message.endswith("then run the same command again")
    assert SECRET not in failed.stderr
    assert KEY not in failed.stderr
    assert lab.git("tag", "--list") == ""
    lab.access, line.answer = right, b""
    assert_finishes(lab)


def test_a_line_that_breaks_and_stalls_is_tried_again(lab: RemoteLaboratory, line: Line) -> None:
    line.breaks_after, line.pause = 20_000, 0.02
    done = subprocess.run(
        lab.command("data", "publish", "tiny"),
        cwd=lab.path, env=lab.environment, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode == 0) == (lab.git("tag", "--list") != "")
    line.breaks_after, line.pause = None, 0.0
    assert_finishes(lab)


def test_a_publisher_killed_at_any_step_leaves_no_half_version(
    lab: RemoteLaboratory, tmp_path: Path
) -> None:
    """kill -9 of the publisher and its children, as each step begins and in its middle."""
    for number, (step, delay) in enumerate((step, d) for step in STEPS for d in (0.0, 0.7)):
        log = tmp_path / f"{number}.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                lab.command("data", "publish", "tiny"),
                cwd=lab.path, env=lab.environment, start_new_session=True,
                stdout=stream, stderr=subprocess.STDOUT,
            )  # fmt: skip
        while step not in log.read_text() and process.poll() is None:
            time.sleep(0.01)
        assert step in log.read_text()
        time.sleep(delay)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert bool(lab.git("tag", "--list")) == (step == STEPS[-1])
    assert_finishes(lab)


def test_two_publishers_at_once_make_one_version(lab: RemoteLaboratory) -> None:
    both = [
        subprocess.Popen(
            lab.command("data", "publish", "tiny", "--json"),
            cwd=lab.path, env=lab.environment, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    said = {process.communicate()[0] for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert len(said) == 1
    assert_finishes(lab)
