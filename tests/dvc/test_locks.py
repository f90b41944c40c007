"""Locks of git, of DVC and of our own that somebody holds, left behind, or holds elsewhere."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from emsam.locks import owned_lock
from tests.conftest import Laboratory, make_laboratory

pytestmark = pytest.mark.slow
LOCK = ".git/emsam-publish.lock"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Laboratory:
    lab = make_laboratory(tmp_path_factory.mktemp("locks"))
    for name in ("one", "two", "three"):
        lab.run("data", "synthetic", name, "--shape", "8,64,64")
    return lab


IMPATIENT = """
from emsam.versioning import repository
repository.LONGEST_WAIT = 1.0
from emsam.cli import main
main()
"""


def failure(lab: Laboratory, name: str) -> str:
    """The line with which publishing fails that waits a second for a lock."""
    done = subprocess.run(
        [sys.executable, "-c", IMPATIENT, "data", "publish", name],
        cwd=lab.path, env=lab.environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    (line,) = [each for each in done.stderr.splitlines() if each.startswith("emsam: ")]
    assert lab.git("tag", "--list", f"data/{name}/*") == ""
    assert lab.git("worktree", "list").count("\n") == 0
    return line


def test_locks_of_the_checkout_and_of_dvc_do_not_matter(shared: Laboratory) -> None:
    """Publishing has an index and a DVC of its own; it neither waits for these nor takes them."""
    (shared.path / ".git/index.lock").write_text("")
    for folder in (shared.path / ".dvc/tmp", shared.path / ".git/emsam-publish/tree/.dvc/tmp"):
        folder.mkdir(parents=True)
        (folder / "lock").write_text("1\n")
        (folder / "rwlock").write_text('{"data": {"write": {"pid": 1, "cmd": "dvc add"}}}')
    with (shared.path / ".dvc/tmp/lock").open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        fcntl.lockf(held, fcntl.LOCK_EX)
        assert shared.json("data", "publish", "one")["tag"] == "data/one/v1"
    assert (shared.path / ".git/index.lock").exists()
    (shared.path / ".git/index.lock").unlink()


@pytest.mark.parametrize("lock", ["refs/heads/datasets.lock", "refs/tags/data/two/v1.lock"])
def test_a_ref_that_git_has_locked_is_named_and_left_alone(lock: str, shared: Laboratory) -> None:
    """git's locks do not say whose they are, so none is taken: waiting, then one line."""
    path = shared.path / ".git" / lock
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    line = failure(shared, "two")
    assert "git update-ref" in line
    assert str(path) in line
    assert "remove" in line
    assert path.exists()
    path.unlink()


def test_after_that_the_same_command_finishes(shared: Laboratory) -> None:
    assert shared.json("data", "publish", "two")["tag"] == "data/two/v1"


def test_a_publisher_on_another_machine_is_not_overtaken(shared: Laboratory) -> None:
    (shared.path / LOCK).write_text("17 microscope-3\n")
    line = failure(shared, "three")
    assert "process 17 on microscope-3 publishes" in line
    assert "remove this file if it runs no more" in line
    assert (shared.path / LOCK).read_text() == "17 microscope-3\n"
    (shared.path / LOCK).unlink()


def test_a_stale_lock_is_taken_over_and_what_a_dead_publisher_started_is_waited_for(
    shared: Laboratory,
) -> None:
    """kill -9 of the publisher alone: its DVC lives on, and the next one waits for its end."""
    (shared.path / LOCK).write_text(f"999999 {socket.gethostname()}\n")
    process = subprocess.Popen(
        shared.command("data", "publish", "three"), cwd=shared.path, env=shared.environment,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    assert process.stderr.readline().startswith("adding three to DVC")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    said = shared.run("data", "publish", "three").stderr
    assert "published data/three/v1" in said
    assert shared.git("tag", "--list", "data/three/*") == "data/three/v1"


HOLDER = """
import sys, time
from pathlib import Path
from emsam.locks import owned_lock
with owned_lock(Path(sys.argv[1])) as (handle, other):
    print(other or "mine", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def holder(path: Path, seconds: float) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path), str(seconds)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "mine\n"
    return process


def test_a_living_holder_is_named_and_never_robbed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    process = holder(path, 60)
    told: list[str] = []
    began = time.monotonic()
    with owned_lock(path, 0.5, told.append) as (_, other):
        assert other == f"process {process.pid} on {socket.gethostname()}"
        assert told == [other]
        assert 0.5 <= time.monotonic() - began < 30
    process.kill()
    process.wait()
    with owned_lock(path) as (_, other):
        assert other == ""
    assert path.read_text() == ""


def test_a_holder_that_ends_in_time_is_waited_for(tmp_path: Path) -> None:
    process = holder(tmp_path / "lock", 0.5)
    with owned_lock(tmp_path / "lock", 60) as (_, other):
        assert other == ""
    assert process.wait() == 0


def test_a_folder_that_its_holder_removes_meanwhile_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, mkdir, turns = tmp_path / "part", Path.mkdir, []

    def with_a_holder(path: Path, *arguments: Any, **options: Any) -> None:
        mkdir(path, *arguments, **options)
        turns.append(path)
        if len(turns) == 1:
            path.rmdir()
        if len(turns) == 2:
            path.rmdir()
            raise FileExistsError(path)

    monkeypatch.setattr(Path, "mkdir", with_a_holder)
    with owned_lock(folder / "lock") as (_, other):
        assert other == ""
    assert turns == [folder] * 3


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), owned_lock(tmp_path / "nowhere" / "part" / "lock"):
        pass
