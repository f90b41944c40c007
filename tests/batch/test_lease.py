"""Run directories in S3: who may train one, and what comes over; a real S3 server (SeaweedFS)."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from emsam.launch import s3_run
from emsam.launch.s3_folder import S3Folder
from emsam.launch.s3_run import S3Run
from emsam.params import Params
from emsam.train.run_directory import RunDirectory
from tests.s3_server import S3Server, server
from tests.waiting import PATIENCE

__all__ = ["server"]

ADDRESS = "s3://emsam/team/runs/a"


@pytest.fixture(autouse=True)
def _credentials(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)


def make_run(folder: Path, *steps: int) -> RunDirectory:
    """A run whose checkpoints hold what their step says."""
    folder.mkdir(parents=True, exist_ok=True)
    run = RunDirectory(folder)
    for step in steps:
        checkpoint = run.checkpoints / f"step-{step:06d}"
        checkpoint.mkdir(parents=True, exist_ok=True)
        (checkpoint / "model.safetensors").write_text(f"weights of {step}")
        (checkpoint / "manifest.json").write_text("{}")
        run.append_metrics({"step": step})
    run.write_status(state="running", step=max(steps, default=0))
    return run


def test_one_holder_at_a_time_and_a_dead_one_loses_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "a", 5)
    with S3Run(run, ADDRESS).hold("one", 30) as lost:  # seconds between two renewals
        assert lost is not None
        with S3Run(run, ADDRESS).hold("two", 4) as other:
            assert other is None
        time.sleep(2.5)
        assert not lost.is_set()
        monkeypatch.setattr(s3_run, "_STALE", 0.0)
        with S3Run(run, ADDRESS).hold("two", 0.1) as other:  # finds it older than six of its own
            assert other is not None
            assert lost.wait(PATIENCE)


def test_a_further_attempt_of_the_same_job_does_not_wait(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", 5)
    with S3Run(run, ADDRESS).hold("job", 60) as lost, S3Run(run, ADDRESS).hold("job", 60) as again:
        assert lost is not None
        assert again is not None


def test_twenty_at_once_and_one_gets_it(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", 5)
    got, ready, tried = [], threading.Barrier(20), threading.Barrier(20, timeout=PATIENCE)

    def hold(number: int) -> None:
        copy = S3Run(run, "s3://emsam/team/runs/crowd")
        ready.wait()
        with copy.hold(f"job {number}", 60) as lost:
            if lost is not None:
                got.append(number)
            tried.wait()

    threads = [threading.Thread(target=hold, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1


def test_progress_comes_over_with_the_newest_whole_checkpoint(tmp_path: Path) -> None:
    far = make_run(tmp_path / "far", 5, 10)
    sender = S3Run(far, "s3://emsam/team/runs/b")
    sender.push()
    near = RunDirectory(tmp_path / "near")
    near.path.mkdir()
    receiver = S3Run(near, "s3://emsam/team/runs/b")
    assert receiver.is_ahead()
    assert receiver.pull(batch_job="x")["step"] == 10
    assert near.status()["batch_job"] == "x"
    assert [each.name for each in near.checkpoints.iterdir()] == ["step-000010"]
    assert [line["step"] for line in near.metrics()] == [5, 10]
    torn = far.checkpoints / "step-000015"  # a machine was taken away while it was sent
    torn.mkdir()
    (torn / "model.safetensors").write_text("half")
    (torn / "manifest.json").write_text("{}")
    sender.push()
    sender._remote.remove(["checkpoints/step-000015/manifest.json"])
    receiver.pull()
    assert [each.name for each in near.checkpoints.iterdir()] == ["step-000010"]
    assert (near.checkpoints / "step-000010/model.safetensors").exists()
    empty = RunDirectory(tmp_path / "empty")
    empty.path.mkdir()
    S3Run(empty, "s3://emsam/team/runs/b").push()  # a container that failed before it had anything
    assert S3Run(RunDirectory(tmp_path / "c"), "s3://emsam/team/runs/b").is_ahead()


def test_a_job_that_is_done_there_is_fetched_by_whoever_saw_its_last_step(tmp_path: Path) -> None:
    far = make_run(tmp_path / "far")
    far.prepare(Params(), {"data": []})
    far.save_checkpoint(10, {"weight": torch.ones(3)}, {"step": 10}, keep=2)
    far.write_status(state="done", step=10)
    S3Run(far, "s3://emsam/team/runs/d").push()
    near = RunDirectory(tmp_path / "near")
    near.path.mkdir()
    near.write_status(state="running", step=10)  # its launcher was killed then
    receiver = S3Run(near, "s3://emsam/team/runs/d")
    assert receiver.is_ahead()
    receiver.pull(checkpoint=False)
    assert receiver.is_ahead()
    receiver.pull()
    assert not receiver.is_ahead()
    assert near.is_done()
    near.write_status(state="stopped", step=20)  # more minutes, on this machine
    assert not receiver.is_ahead()


def test_a_status_that_is_written_while_it_is_sent_arrives_whole(tmp_path: Path) -> None:
    run, over = make_run(tmp_path / "a", 5), threading.Event()

    def write() -> None:
        length = 0
        while not over.wait(0.0005):
            length = (length + 7) % 100
            run.write_status(state="running", step=5, note="x" * length)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        folder = S3Folder("s3://emsam/team/runs/written")
        for _ in range(200):
            folder.upload(run.path, ["status.json"])
            found = folder.read("status.json")
            assert found is not None
            assert found[0]["step"] == 5
    finally:
        over.set()
        writer.join()


def test_a_launcher_and_whoever_stops_its_job_fetch_at_once(tmp_path: Path) -> None:
    S3Run(make_run(tmp_path / "far", *range(5, 50, 5)), "s3://emsam/team/runs/twice").push()
    near = RunDirectory(tmp_path / "near")
    near.path.mkdir()
    copies = [S3Run(near, "s3://emsam/team/runs/twice") for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        pulls = [pool.submit(copy.pull, batch_job="x") for copy in copies]
    assert [pull.result()["step"] for pull in pulls] == [45] * 8
    assert (near.checkpoints / "step-000045/model.safetensors").read_text() == "weights of 45"
