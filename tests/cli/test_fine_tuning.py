"""From one run's encoder to the next: taken in, cached, frozen, adapted."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import Laboratory, overrides

pytestmark = pytest.mark.slow

EMSAM = ("model.name=emsam", "model.decoder_widths=[4,6,8,8]", "train.steps=6")
TRAIN = ("train", "--data", "tiny", "--run")


def weights_of(lab: Laboratory, run: str) -> dict[str, torch.Tensor]:
    checkpoint = max((lab.path / run).glob("checkpoints/step-*"))
    return load_file(checkpoint / "model.safetensors")


def encoder_of(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: each for name, each in weights.items() if name.startswith("encoder.")}


@pytest.fixture
def pretrained(lab: Laboratory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Parameters of a network that begins with the encoder of the run ``runs/first``."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    lab.run("data", "synthetic", "tiny", "--shape", "16,96,96")
    lab.run(*TRAIN, "runs/first", *overrides(*EMSAM))
    taken = lab.json("weights", "get", "vit_t", "--from", "runs/first")
    assert Path(taken["path"]).is_relative_to(tmp_path / "cache")
    return (*EMSAM, f"model.weights={taken['sha256']}")


def test_an_encoder_is_taken_on_frozen_and_adapted(
    lab: Laboratory, pretrained: tuple[str, ...]
) -> None:
    first = encoder_of(weights_of(lab, "runs/first"))

    frozen = overrides(
        *pretrained, "augment.amount=0", "train.mode=decoder", "train.patches=grid",
        "train.cached_features=true",
    )  # fmt: skip
    refused = lab.run(*TRAIN, "runs/frozen", *frozen, status=2)
    assert "emsam features" in refused.stderr
    assert not (lab.path / "runs" / "frozen").exists()
    features = lab.json("features", "--data", "tiny", *frozen)
    assert (lab.path / features["path"]).is_dir()
    assert lab.json(*TRAIN, "runs/frozen", *frozen)["state"] == "done"
    after = weights_of(lab, "runs/frozen")
    assert all(torch.equal(after[name], each) for name, each in first.items())

    adapted = overrides(*pretrained, "train.mode=lora", "train.lora_rank=2")
    assert lab.json(*TRAIN, "runs/adapted", *adapted)["state"] == "done"
    merged = encoder_of(weights_of(lab, "runs/adapted"))
    assert merged.keys() == first.keys()  # as if nobody had adapted it
    moved = {name for name, each in merged.items() if not torch.equal(each, first[name])}
    assert moved == {f"encoder.vit.blocks.{i}.attn.qkv.weight" for i in range(4)}

    for run in ("runs/frozen", "runs/adapted"):
        scores = lab.json("evaluate", run, "--data", "tiny")
        assert {mean["metric"] for mean in scores["means"]} >= {"arand_contest_2d"}


def test_an_adapted_run_goes_on_where_it_was_stopped(
    lab: Laboratory, pretrained: tuple[str, ...]
) -> None:
    """Merged weights are what others read; the additions are what training goes on with."""
    job = overrides(
        *pretrained, "train.mode=lora",
        "train.lora_places=[qkv,proj,lin1,lin2]", "train.checkpoint_every=3",
    )  # fmt: skip
    lab.run(*TRAIN, "runs/whole", *job)
    lab.run(*TRAIN, "runs/stopped", *job)
    newest = lab.path / "runs" / "stopped" / "checkpoints" / "step-000006" / "model.safetensors"
    newest.write_bytes(b"torn")
    (lab.path / "runs" / "stopped" / "status.json").unlink()
    assert lab.json(*TRAIN, "runs/stopped", *job)["state"] == "done"
    whole, resumed = weights_of(lab, "runs/whole"), weights_of(lab, "runs/stopped")
    assert all(torch.equal(whole[name], each) for name, each in resumed.items())
