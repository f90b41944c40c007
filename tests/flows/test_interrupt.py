"""Ctrl-C anywhere, then the same command again: the same result."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import Laboratory, make_laboratory, overrides
from tests.flows.conftest import Finished, run_after, synthesize
from tests.processes import processes_in, words_of
from tests.waiting import PATIENCE

pytestmark = pytest.mark.slow

WITH_A_SERVER = (
    "adding tiny to DVC",
    "pushing to",
    "training in",
    "loss",
    "is done at step",
    "evaluate",
    "promote",
)
"""What the pipeline prints when it is interrupted; one after the other, in one laboratory."""
WITH_ITS_OWN_SERVER = ("Starting temporary server", "loss")
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


def interrupt_at(lab: Laboratory, log: Path, moment: str) -> None:
    """Press Ctrl-C when ``moment`` is printed; the command says so in one line and ends."""
    process = start(lab, log, "pipeline", "--data", "tiny", *overrides(*SLOWER))
    while moment not in log.read_text():
        assert process.poll() is None, f"{moment!r} never came: {log.read_text()}"
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(PATIENCE) == 130, log.read_text()
    assert log.read_text().count("emsam: interrupted; run the same command again to go on") == 1


def steps_of(run: Path) -> list[int]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["step"] for line in lines]


def weights_digest(run: Path) -> str:
    manifest = max(run.glob("checkpoints/step-*/manifest.json"))
    return str(json.loads(manifest.read_text())["files"]["model.safetensors"]["sha256"])


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> Finished:
    lab = make_laboratory(tmp_path_factory.mktemp("uninterrupted"))
    lab.prefect_api = prefect_api
    synthesize(lab)
    return Finished(lab, lab.json("pipeline", "--data", "tiny", *overrides(*SLOWER)))


@pytest.mark.parametrize("moments", [WITH_A_SERVER, WITH_ITS_OWN_SERVER], ids=["server", "alone"])
def test_an_interrupted_pipeline_ends_in_the_same_result(
    uninterrupted: Finished, tmp_path: Path, moments: tuple[str, ...]
) -> None:
    lab = make_laboratory(tmp_path / "interrupted")
    lab.prefect_api = uninterrupted.lab.prefect_api if moments is WITH_A_SERVER else ""
    synthesize(lab)
    for number, moment in enumerate(moments):
        interrupt_at(lab, tmp_path / f"{number}.log", moment)
    assert not [each for each in processes_in(lab.path) if "emsam.train" in words_of(each)]
    report = lab.json("pipeline", "--data", "tiny", *overrides(*SLOWER))

    expected = uninterrupted.report
    same = ("digest", "data_version", "run", "means", "model", "champion")
    assert {key: report[key] for key in same} == {key: expected[key] for key in same}
    run = lab.path / report["run"]
    assert weights_digest(run) == weights_digest(uninterrupted.run)
    assert steps_of(run) == list(range(1, 151))
    assert lab.git("status", "--porcelain") == ""
    assert lab.git("worktree", "list").count("\n") == 0


SWALLOWED = """
import signal
from flows.fine_tune import fine_tune

# Prefect has noted the final state when it calls this, and drops what is raised here
fine_tune.on_completion_hooks.append(lambda *_: signal.raise_signal(signal.SIGINT))
"""


def test_ctrl_c_that_prefect_swallows_stops_the_pipeline(finished: Finished) -> None:
    arguments = ["pipeline", "--data", "tiny", *overrides()]
    done = run_after(SWALLOWED, finished.lab, *arguments, status=130)
    assert "emsam: interrupted; run the same command again to go on" in done.stderr
    assert "Beginning subflow run 'evaluate" not in done.stderr


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
    assert steps_of(run) == list(range(1, 151))


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
    assert first.wait(PATIENCE) == 0
    assert steps_of(tmp_path / "run") == list(range(1, 151))
