"""Training from cached features of a frozen encoder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr

from emsam.data.patches import PatchSampler
from emsam.data.store import Volume
from emsam.errors import InputError
from emsam.model.encoder import ENCODERS, SamEncoder
from emsam.model.weights_cache import locked_cache, store_weights
from emsam.params import Params, load_params
from emsam.settings import Settings
from emsam.train.features import FeatureCache
from emsam.train.loop import train
from emsam.train.prepare import prepare_features, prepare_run
from emsam.train.run_directory import RunDirectory

SHA256 = "c0ffee" + "0" * 58


@pytest.fixture
def settings(synthetic_volume: Volume, tmp_path: Path) -> Settings:
    """A laboratory with a volume and an encoder that somebody trained before."""
    settings = Settings(
        home=tmp_path / "home",
        data_root=synthetic_volume.path.parents[1],
        runs_root=tmp_path / "runs",
        weights_root=tmp_path / "weights",
    )
    torch.manual_seed(7)
    encoder = SamEncoder(ENCODERS["vit_t"])
    settings.weights_root.mkdir()
    with locked_cache(settings.weights_root):
        store_weights(encoder.vit.state_dict(), "vit_t", SHA256, "a run", settings.weights_root)
    return settings


def job(*overrides: str) -> Params:
    return load_params(None, [
        "model.weights=c0ffee", "train.mode=decoder", "train.patches=grid", "train.patch=48",
        "model.decoder_widths=[4,6,8,8]", "train.steps=4", "train.checkpoint_every=2",
        "train.validate_slices=1", "segment.tile=48", "segment.halo=16", "augment.amount=0",
        *overrides,
    ])  # fmt: skip


def losses(run: RunDirectory) -> list[float]:
    assert train(run) == "done"
    lines = run.metrics_file.read_text().splitlines()
    return [json.loads(line)["train/loss"] for line in lines]


def test_training_from_the_cache_gives_the_same_losses(settings: Settings) -> None:
    cached = job("train.cached_features=true")
    report = prepare_features(cached, settings)
    assert report["bytes"] == sum(
        f.stat().st_size for f in Path(report["path"]).iterdir() if f.name != "zarr.json"
    )
    with_cache = losses(prepare_run(cached, settings))
    without = losses(prepare_run(job(), settings))
    assert with_cache == pytest.approx(without, abs=1e-4)
    assert len(with_cache) == 4


def test_what_is_kept_is_what_the_encoder_says(settings: Settings) -> None:
    params = job("train.cached_features=true")
    report = prepare_features(params, settings)
    volume = Volume(settings.volume_path("demo"))
    sampler = PatchSampler.of_job(volume, params)
    cache = FeatureCache(Path(report["path"]), report["key"], sampler.grid_places())
    torch.manual_seed(7)
    encoder = SamEncoder(ENCODERS["vit_t"])
    for place in (sampler.grid_places()[i] for i in (0, 5, -1)):
        kept = torch.from_numpy(cache.read([place])[0])
        with torch.inference_mode():
            image = torch.from_numpy(sampler.image(place).copy())[None, None]
            taps = encoder.forward_intermediates(image, encoder.config.global_blocks)
        torch.testing.assert_close(kept, torch.cat(taps), rtol=1e-4, atol=1e-4)


def test_a_job_without_its_features_is_refused_before_it_starts(settings: Settings) -> None:
    with pytest.raises(InputError, match="emsam features"):
        prepare_run(job("train.cached_features=true"), settings)
    assert not settings.runs_root.exists()
    with pytest.raises(InputError, match="cached_features"):
        prepare_features(job(), settings)


@pytest.mark.parametrize(
    "changed",
    ["train.patch=64", "augment.flips=false", "train.precision=bf16-mixed", "task=mitochondria",
     "model.weights=decaf0"],
)  # fmt: skip
def test_other_jobs_do_not_find_these_features(changed: str, settings: Settings) -> None:
    prepare_features(job("train.cached_features=true"), settings)
    shutil.copytree(
        settings.weights_root / f"vit_t-{SHA256[:12]}",
        settings.weights_root / "vit_t-decaf0000000",
    )
    manifest = settings.weights_root / "vit_t-decaf0000000" / "manifest.json"
    manifest.write_text(manifest.read_text().replace("c0ffee", "decaf0"))
    other = job("train.cached_features=true", "segment.tile=64", changed)
    with pytest.raises(InputError, match="no cached features"):
        prepare_run(other, settings)


@pytest.mark.parametrize("name", ["weights", "data", "taps", "patch", "precision", "encoder"])
def test_features_of_something_else_are_refused_by_name(name: str, settings: Settings) -> None:
    params = job("train.cached_features=true")
    report = prepare_features(params, settings)
    run = prepare_run(params, settings)
    array = zarr.open_array(report["path"], mode="r+")
    array.attrs["key"] = report["key"] | {name: "another"}
    with pytest.raises(InputError, match=f"features of {name} = another"):
        train(run)


def test_data_that_changed_needs_features_of_its_own(settings: Settings, tmp_path: Path) -> None:
    params = job("train.cached_features=true")
    shutil.copytree(settings.data_root, tmp_path / "data")
    settings = settings.model_copy(update={"data_root": tmp_path / "data"})
    before = prepare_features(params, settings)
    prepare_run(params, settings, tmp_path / "before")
    image = zarr.open_array(settings.volume_path("demo") / "image" / "0", mode="r+")
    image[0] = 255 - image[0]
    with pytest.raises(InputError, match="no cached features"):
        prepare_run(params, settings, tmp_path / "after")
    after = prepare_features(params, settings)
    prepare_run(params, settings, tmp_path / "after")
    old, new = (zarr.open_array(each["path"], mode="r") for each in (before, after))
    assert not np.allclose(old[0], new[0])
    np.testing.assert_array_equal(old[-1], new[-1])  # of a slice that is as it was


def test_an_interrupted_computation_goes_on(settings: Settings) -> None:
    params = job("train.cached_features=true")
    whole = prepare_features(params, settings)
    expected = zarr.open_array(whole["path"], mode="r")[:]
    shutil.rmtree(whole["path"])
    seen: list[int] = []

    def interrupt(done: int, total: int) -> None:
        seen.append(done)
        if done >= total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_features(params, settings, interrupt)
    assert not Path(whole["path"]).exists()
    rest: list[int] = []
    prepare_features(params, settings, lambda done, total: rest.append(done))
    assert min(rest) > max(seen)
    assert (zarr.open_array(whole["path"], mode="r")[:] == expected).all()


def test_features_are_computed_once(settings: Settings) -> None:
    params = job("train.cached_features=true")
    first = prepare_features(params, settings)
    calls: list[int] = []
    assert prepare_features(params, settings, lambda done, total: calls.append(done)) == first
    assert calls == []
