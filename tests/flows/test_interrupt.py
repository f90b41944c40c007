"""Killed or started twice, then the same command again: the same result."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import Laboratory, overrides
from tests.flows.conftest import Finished

pytestmark = pytest.mark.slow

SLOWER = ("train.steps=150", "train.batch_size=4")
"""Long enough for a line with a loss."""


def start(lab: Laboratory, log: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a command as a terminal would: in a process group of its own."""
    with log.open("wb") as stream:
        return subprocess.Popen(
            lab.command(*arguments),
            cwd=lab.path,
            env=lab.environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def weights_digest(run: Path) -> str:
    manifest = max(run.glob("checkpoints/step-*/manifest.json"))
    return str(json.loads(manifest.read_text())["files"]["model.safetensors"]["sha256"])


def test_a_killed_trainer_is_taken_up_by_the_next_call(finished: Finished, tmp_path: Path) -> None:
    """kill -9 of everything in mid-training; the next call goes on from a whole checkpoint."""
    lab = finished.lab
    arguments = ["train", "--data", "tiny", "--run", str(tmp_path / "run"), *overrides(*SLOWER)]
    process = start(lab, tmp_path / "log", *arguments)
    run = tmp_path / "run"
    while len(list(run.glob("checkpoints/step-*"))) < 2:
        assert process.poll() is None, (tmp_path / "log").read_text()
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    status = lab.json(*arguments)
    assert status["state"] == "done"
    whole = ["train", "--data", "tiny", "--run", str(tmp_path / "whole"), *overrides(*SLOWER)]
    lab.run(*whole)
    assert weights_digest(run) == weights_digest(tmp_path / "whole")
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 151))


def test_a_run_that_is_being_trained_is_watched_not_doubled(
    finished: Finished, tmp_path: Path
) -> None:
    lab = finished.lab
    arguments = ["train", "--data", "tiny", "--run", str(tmp_path / "run"), *overrides(*SLOWER)]
    first = start(lab, tmp_path / "log", *arguments)
    while not (tmp_path / "run" / "metrics.jsonl").exists():
        assert first.poll() is None, (tmp_path / "log").read_text()
        time.sleep(0.05)
    second = lab.json(*arguments)
    assert second["state"] == "done"
    assert first.wait(30) == 0
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, 151))
