from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import pytest
import torch

import emsam.train.tuning as tuning
from emsam.data.store import Volume
from emsam.errors import InputError
from emsam.model.build import build_model
from emsam.params import Params, load_params
from emsam.train.provenance import describe_inputs
from emsam.train.run_directory import RunDirectory
from emsam.train.targets import make_targets
from emsam.train.tuning import Search, tune_run

pytest.importorskip("optuna")

WEAK = 0.55
"""What the network says of every membrane: on the wrong side of the default."""


@pytest.fixture
def run(tmp_path: Any, synthetic_volume: Volume) -> RunDirectory:
    """A run with a checkpoint of an untrained network."""
    params = load_params(
        None,
        [
            "model.name=unet", "model.unet_widths=[4, 4]", "segment.tile=64", "segment.halo=8",
            "segment.min_size=5", "segment.threshold=0.7", "segment.merge=0.45",
            "segment.method=agglomerate",
        ],
    )  # fmt: skip
    prepared = RunDirectory(tmp_path / "runs" / "one")
    prepared.prepare(params, describe_inputs(synthetic_volume, "abc.dir"))
    torch.manual_seed(0)
    prepared.save_checkpoint(1, build_model(params).state_dict(), {"step": 1}, keep=1)
    return prepared


@pytest.fixture
def weak_membranes(synthetic_volume: Volume, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Maps of a network that sees every membrane, but is not sure of any."""
    looked: list[int] = []
    slices = iter(synthetic_volume.slices("val", "neurites") * 9)

    def predict(network: object, image: np.ndarray, params: Params) -> np.ndarray:
        z = next(slices)
        looked.append(z)
        ids = torch.from_numpy(synthetic_volume.labels("neurites", z).astype(np.int64))[None]
        target, _ = make_targets(ids, params)
        return np.where(target[0].numpy() > 0, 0.97, WEAK).astype(np.float32)

    monkeypatch.setattr(tuning, "predict_maps", predict)
    return looked


def test_tuning_finds_what_the_membranes_of_this_network_need(
    run: RunDirectory, synthetic_volume: Volume, weak_membranes: list[int]
) -> None:
    seen: list[tuple[int, int]] = []
    found = tune_run(
        run,
        synthetic_volume,
        "val",
        Search(trials=12),
        lambda done, total, note: seen.append((done, total)),
    )
    assert found["metric"] == "arand_contest_2d"
    assert found["before"] > 0.3
    assert found["after"] < 0.1
    assert found["segment"]["merge"] > WEAK
    slices = synthetic_volume.slices("val", "neurites")
    assert weak_membranes == slices  # each slice is predicted once
    assert seen[-1] == (len(slices) + 12, len(slices) + 12)


def test_the_run_is_judged_with_what_was_chosen(
    run: RunDirectory, synthetic_volume: Volume, weak_membranes: list[int]
) -> None:
    before = run.params()
    found = tune_run(run, synthetic_volume, "val", Search(trials=6))
    assert run.untuned_params() == before
    for params in (run.params(), run.model_params()):
        assert params.segment.model_dump() | found["segment"] == params.segment.model_dump()
        assert params.segment != before.segment
        assert params.training_part() == before.training_part()
    assert [line["trial"] for line in run.trials()] == list(range(6))
    first = run.trials()[0]
    assert first["segment"] == before.settled_segment.model_dump()
    assert first["value"] == found["before"]
    json.dumps(found)


def test_a_search_that_was_stopped_ends_as_one_that_was_not(
    run: RunDirectory,
    synthetic_volume: Volume,
    weak_membranes: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tune_run(run, synthetic_volume, "val", Search(trials=8))
    whole = [line | {"at": 0} for line in run.trials()]
    run.trials_file.unlink()
    run.tuned_file.unlink()

    def interrupt(done: int, total: int, note: str) -> None:
        if note != "predicting" and len(run.trials()) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune_run(run, synthetic_volume, "val", Search(trials=8), interrupt)
    assert not run.tuned_file.exists()
    assert len(run.trials()) == 3
    tune_run(run, synthetic_volume, "val", Search(trials=8))
    assert [line | {"at": 0} for line in run.trials()] == whole
    monkeypatch.setattr(tuning, "predict_maps", None)  # done: nothing is predicted again
    tune_run(run, synthetic_volume, "val", Search(trials=8))
    assert len(run.trials()) == 8


def test_several_methods_are_searched_together(
    run: RunDirectory, synthetic_volume: Volume, weak_membranes: list[int]
) -> None:
    found = tune_run(
        run, synthetic_volume, "val", Search(trials=8, methods=("agglomerate", "seeds"))
    )
    assert {line["segment"]["method"] for line in run.trials()} == {"agglomerate", "seeds"}
    assert found["segment"]["method"] == run.params().segment.method


def test_slices_that_would_lie_are_refused(run: RunDirectory, synthetic_volume: Volume) -> None:
    for split in ("test", "train"):
        with pytest.raises(InputError, match=f"--split {split}"):
            tune_run(run, synthetic_volume, split, Search())
    inputs = run.inputs()
    first = synthetic_volume.info.splits["val"][0]
    inputs["data"][0]["splits"]["train"] = [0, first]
    run.inputs_file.write_text(json.dumps(inputs))
    with pytest.raises(InputError, match=f"was trained on slices 0-{first}"):
        tune_run(run, synthetic_volume, "val", Search())
    assert not run.trials_file.exists()
    assert not run.tuned_file.exists()


def test_what_cannot_be_searched_is_refused(
    run: RunDirectory, synthetic_volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="--method magic"):
        tune_run(run, synthetic_volume, "val", Search(methods=("magic",)))
    with run.lock(), pytest.raises(InputError, match="another process"):
        tune_run(run, synthetic_volume, "val", Search())
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(InputError, match=r"\.\[tune\]"):
        tune_run(run, synthetic_volume, "val", Search())
