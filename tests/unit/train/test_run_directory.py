from __future__ import annotations

import json
import math
import multiprocessing
import os
import time
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from emsam.data.digest import file_sha256
from emsam.errors import InputError
from emsam.params import Params, load_params, override_params
from emsam.train.checkpoints import Score, read_trainer
from emsam.train.evaluation import read_scores
from emsam.train.run_directory import RunDirectory
from tests.waiting import PATIENCE

INPUTS = {"data": [{"name": "demo", "digest": "abc.dir", "path": "data/demo/volume.zarr"}]}


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """A prepared run."""
    prepared = RunDirectory(tmp_path / "runs" / "one")
    prepared.prepare(Params(), INPUTS)
    return prepared


def save(run: RunDirectory, step: int, keep: int = 9, score: Score | None = None) -> None:
    model = {"weight": torch.full((3, 4), float(step)), "turned": torch.arange(6.0).view(2, 3).T}
    run.save_checkpoint(step, model, {"step": step, "lr": [0.1, 0.2]}, keep=keep, score=score)


def steps(run: RunDirectory) -> list[str]:
    return sorted(path.name for path in run.checkpoints.iterdir())


def damage(run: RunDirectory, step: int, file: str = "model.safetensors") -> None:
    path = run.checkpoints / f"step-{step:06d}" / file
    os.truncate(path, path.stat().st_size - 1)


# -- preparing ------------------------------------------------------------------------------------


def test_a_prepared_job_reads_back(run: RunDirectory) -> None:
    assert run.exists()
    assert run.require().params() == Params()
    inputs = run.inputs()
    assert len(inputs.pop("id")) == 32
    assert inputs == INPUTS
    assert run.status()["state"] == "new"


def test_the_same_job_may_be_prepared_again(run: RunDirectory) -> None:
    before = {path: path.read_bytes() for path in run.path.iterdir()}
    run.prepare(Params(), INPUTS)
    assert {path: path.read_bytes() for path in run.path.iterdir()} == before


def test_judging_may_change(run: RunDirectory) -> None:
    wanted = load_params(None, ["segment.threshold=0.7", "evaluate.block=2"])
    run.prepare(wanted, INPUTS)
    assert run.params() == wanted


@pytest.mark.parametrize("change", ["train.steps=7", "seed=1", "model.name=unet"])
def test_another_job_is_refused(run: RunDirectory, change: str) -> None:
    with pytest.raises(InputError, match=str(run.path)):
        run.prepare(load_params(None, [change]), INPUTS)
    assert run.params() == Params()


def test_another_data_set_version_is_refused_with_both_digests(run: RunDirectory) -> None:
    with pytest.raises(InputError, match=r"abc\.dir.*new\.dir"):
        run.prepare(Params(), {"data": [{"digest": "new.dir"}]})


def test_a_folder_with_somebody_s_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=str(tmp_path)):
        RunDirectory(tmp_path).prepare(Params(), INPUTS)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_in_place_of_the_folder_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(InputError, match="run"):
        RunDirectory(tmp_path / "run").prepare(Params(), INPUTS)


def test_a_preparation_that_was_killed_can_be_repeated(tmp_path: Path) -> None:
    (tmp_path / ".params.yaml.4711.part").write_text("task: neur")
    run = RunDirectory(tmp_path)
    run.prepare(Params(), INPUTS)
    assert run.exists()
    assert run.params() == Params()


def test_a_folder_without_a_run_is_bad_input(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputError, match=str(folder)):
            RunDirectory(folder).require()


# -- checkpoints ----------------------------------------------------------------------------------


def test_a_checkpoint_comes_back_exactly(run: RunDirectory) -> None:
    assert run.newest_checkpoint() is None
    save(run, 20)
    folder = run.newest_checkpoint()
    assert folder is not None
    tensors = load_file(folder / "model.safetensors")
    assert torch.equal(tensors["weight"], torch.full((3, 4), 20.0))
    assert torch.equal(tensors["turned"], torch.arange(6.0).view(2, 3).T)
    trainer = torch.load(folder / "trainer.pt", weights_only=True)
    assert trainer == {"step": 20, "lr": [0.1, 0.2]}


@pytest.mark.parametrize("file", ["model.safetensors", "trainer.pt", "manifest.json"])
def test_a_torn_checkpoint_is_passed_over(run: RunDirectory, file: str) -> None:
    save(run, 10)
    save(run, 20)
    path = run.checkpoints / "step-000020" / file
    os.truncate(path, path.stat().st_size // 2)
    newest = run.newest_checkpoint()
    assert newest is not None
    assert newest.name == "step-000010"
    path.unlink()
    assert run.newest_checkpoint() == newest


def test_a_changed_byte_is_noticed(run: RunDirectory) -> None:
    save(run, 10)
    path = run.checkpoints / "step-000010" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert run.newest_checkpoint() is None


def test_only_the_newest_are_kept(run: RunDirectory) -> None:
    for step in (10, 20, 30, 40):
        save(run, step, keep=2)
    assert steps(run) == ["step-000030", "step-000040"]


def test_the_best_is_kept_beside_the_newest_and_judged_if_that_is_wanted(
    run: RunDirectory,
) -> None:
    for step, value in ((10, 0.4), (20, 0.2), (30, 0.3), (40, 0.5)):
        score = Score("arand_contest_2d", value)
        assert run.is_best(score) == (step <= 20)
        save(run, step, keep=1, score=score)
    save(run, 45, keep=1)  # stopped between two validations
    assert steps(run) == ["step-000020", "step-000045"]
    assert run.judged_checkpoint().name == "step-000045"
    run.set_judging(load_params(None, ["evaluate.checkpoint=best"]))
    assert run.judged_checkpoint().name == "step-000020"
    damage(run, 20)
    assert run.judged_checkpoint().name == "step-000045"


def test_higher_is_better_for_mitochondria(run: RunDirectory) -> None:
    for step, value in ((10, 0.4), (20, 0.6), (30, 0.5)):
        save(run, step, score=Score("ap50_accuracy_2d", value))
    assert run.best_checkpoint() == run.checkpoints / "step-000020"


def test_what_a_killed_writer_left_is_no_checkpoint_and_is_written_anew(run: RunDirectory) -> None:
    part = run.checkpoints / ".step-000010.part"
    part.mkdir(parents=True)
    (part / "model.safetensors").write_bytes(b"half")
    assert run.newest_checkpoint() is None
    save(run, 10)
    assert steps(run) == ["step-000010"]
    assert run.newest_checkpoint() is not None


def test_a_torn_checkpoint_is_replaced_when_its_step_comes_again(run: RunDirectory) -> None:
    save(run, 10)
    save(run, 20)
    damage(run, 20)
    save(run, 20)  # resumed from 10, the run reaches 20 again
    newest = run.newest_checkpoint()
    assert newest is not None
    assert newest.name == "step-000020"


def test_a_torn_checkpoint_does_not_push_a_whole_one_out(run: RunDirectory) -> None:
    save(run, 10, keep=2)
    save(run, 20, keep=2)
    damage(run, 20)
    save(run, 30, keep=2)
    damage(run, 30)
    newest = run.newest_checkpoint()
    assert newest is not None
    assert newest.name == "step-000010"


def test_the_millionth_step_is_newer_than_the_one_before(run: RunDirectory) -> None:
    save(run, 999_999, keep=1)
    save(run, 1_000_000, keep=1)
    newest = run.newest_checkpoint()
    assert newest is not None
    assert newest.name == "step-1000000"


# -- metrics and status ---------------------------------------------------------------------------


def test_half_a_line_is_dropped_and_the_last_step_told(run: RunDirectory) -> None:
    assert run.mend_metrics() == -1
    run.append_metrics({"step": 1, "loss": 0.5})
    run.append_metrics({"step": 2, "loss": 0.4})
    whole = run.metrics_file.read_bytes()
    with run.metrics_file.open("ab") as stream:
        stream.write(b'{"step": 3, "lo')
    assert [line["step"] for line in run.metrics()] == [1, 2]
    assert run.mend_metrics() == 2
    assert run.metrics_file.read_bytes() == whole
    assert run.mend_metrics() == 2


def test_a_first_line_that_is_half_leaves_nothing(run: RunDirectory) -> None:
    run.metrics_file.write_text('{"step"')
    assert run.mend_metrics() == -1
    assert run.metrics_file.read_bytes() == b""
    assert list(run.metrics()) == []


def test_numbers_that_json_cannot_hold_become_null(run: RunDirectory) -> None:
    run.append_metrics({"step": 1, "loss": math.nan, "deep": {"norms": [math.inf, 1.0]}})
    line = json.loads(run.metrics_file.read_text(), parse_constant=pytest.fail)
    assert line == {"step": 1, "loss": None, "deep": {"norms": [None, 1.0]}}


def test_status_has_a_heartbeat_and_replaces_the_one_before(run: RunDirectory) -> None:
    run.write_status(state="running", step=1)
    run.write_status(state="done", step=2)
    status = run.status()
    assert (status["state"], status["step"]) == ("done", 2)
    assert status["heartbeat"] > 0
    assert not [path for path in run.path.iterdir() if path.suffix == ".part"]


# -- the lock -------------------------------------------------------------------------------------


def hold(path: Path, held: Event) -> None:
    with RunDirectory(path).lock() as free:
        assert free
        held.set()
        time.sleep(600)


def test_one_process_holds_a_run_until_it_dies(run: RunDirectory) -> None:
    context = multiprocessing.get_context("fork")
    held = context.Event()
    other = context.Process(target=hold, args=(run.path, held))
    other.start()
    try:
        assert held.wait(PATIENCE)
        with run.lock() as free:
            assert not free
    finally:
        other.kill()
        other.join()
    with run.lock() as free:
        assert free


# -- tuned post-processing ------------------------------------------------------------------------


def test_what_was_tuned_stays_until_something_else_is_asked_for(run: RunDirectory) -> None:
    tuned = Params().segment.model_copy(update={"threshold": 0.55, "merge": 0.3})
    run.set_tuned(tuned)
    assert run.params() == Params().model_copy(update={"segment": tuned})
    run.prepare(load_params(None, ["evaluate.block=2"]), INPUTS)  # the same job once more
    assert run.params().segment == tuned
    assert run.params().evaluate.block == 2
    run.set_judging(load_params(None, ["segment.merge=0.7"]))
    assert run.params() == load_params(None, ["segment.merge=0.7"])
    assert not run.tuned_file.exists()


def test_an_override_starts_from_what_was_tuned(run: RunDirectory) -> None:
    tuned = Params().segment.model_copy(update={"threshold": 0.55, "merge": 0.3})
    run.set_tuned(tuned)
    run.set_judging(override_params(run.params(), ["evaluate.block=2"]), keep_tuned=False)
    assert run.params().segment == tuned
    assert run.tuned_file.exists()
    back = f"segment.merge={Params().segment.merge}"
    run.set_judging(override_params(run.params(), [back]), keep_tuned=False)
    assert run.params().segment == Params().segment.model_copy(update={"threshold": 0.55})
    assert not run.tuned_file.exists()


def test_a_tuned_file_that_somebody_spoilt_is_told(run: RunDirectory) -> None:
    run.tuned_file.write_text("segment: {merge: 3}")
    with pytest.raises(InputError, match=r"segment\.yaml.*merge"):
        run.params()


@pytest.mark.parametrize("text", ["[" * 100_000, "{}", "[1]", '{"data": [{}]}', "\0", "{"])
def test_what_no_trainer_of_ours_wrote_is_refused_in_one_line(run: RunDirectory, text: str) -> None:
    for file, read in (
        (run.inputs_file, run.inputs), (run.status_file, run.status),
        (run.metrics_file, lambda: list(run.metrics())), (run.trials_file, run.trials),
        (run.scores_file, lambda: read_scores(run)),
    ):  # fmt: skip
        file.write_text(text + "\n")
        if file.suffix == ".jsonl" and text.startswith("{") and text.endswith("}"):
            continue  # a line may hold anything
        with pytest.raises(InputError, match=str(file)):
            read()


def test_a_manifest_may_name_nothing_outside_its_folder(run: RunDirectory, tmp_path: Path) -> None:
    save(run, 4)
    save(run, 8)
    (run.checkpoints / "step-last").mkdir()
    newest = run.checkpoints / "step-000008" / "manifest.json"
    manifest = json.loads(newest.read_text())
    (tmp_path / "private").write_text("x")
    entry = {"sha256": file_sha256(tmp_path / "private"), "bytes": 1}
    whole = manifest["files"]
    outside = [whole | {name: entry} for name in ("../../../../private", str(tmp_path / "private"))]
    for files in (*outside, {}, {"params.yaml": whole["params.yaml"]}, [1], None):
        newest.write_text(json.dumps(manifest | {"files": files}))
        assert run.require_checkpoint().name == "step-000004"
    newest.write_text(json.dumps(manifest))
    assert run.require_checkpoint().name == "step-000008"


def test_nothing_in_a_checkpoint_is_run(run: RunDirectory, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return os.system, (f"touch {tmp_path / 'ran'}",)

    save(run, 4)
    checkpoint = run.require_checkpoint()
    torch.save({"optimizer": Evil()}, checkpoint / "trainer.pt")
    with pytest.raises(InputError, match=r"trainer.pt: damaged, or more than a checkpoint"):
        read_trainer(checkpoint)
    assert not (tmp_path / "ran").exists()
