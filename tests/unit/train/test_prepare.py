from __future__ import annotations

from pathlib import Path

import pytest
import torch

from emsam.data.store import Volume
from emsam.errors import InputError
from emsam.params import Params, load_params
from emsam.settings import Settings
from emsam.train.prepare import default_run_name, prepare_run


@pytest.fixture
def settings(synthetic_volume: Volume, tmp_path: Path) -> Settings:
    """Settings under which the synthetic volume is found."""
    return Settings(data_root=synthetic_volume.path.parents[1], runs_root=tmp_path / "runs")


def params(*overrides: str) -> Params:
    return load_params(None, ["model.name=unet", "train.patch=64", *overrides])


def test_the_same_job_finds_the_same_folder(settings: Settings) -> None:
    first = prepare_run(params(), settings)
    assert prepare_run(params("evaluate.block=2"), settings).path == first.path
    assert prepare_run(params("seed=1"), settings).path != first.path
    (data,) = first.inputs()["data"]
    assert data["digest"].endswith(".dir")
    assert data["name"] == "demo"


def test_the_name_says_data_task_and_model() -> None:
    name = default_run_name(params("data.name=ca1", "task=mitochondria"), "abc.dir")
    assert name.startswith("ca1-mitochondria-unet-")
    assert name != default_run_name(params("data.name=ca1", "task=mitochondria"), "abd.dir")


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("data.name=none", "none"),
        ("train.patch=112", "train.patch"),
        ("model.unet_widths=[8]", "model.unet_widths"),
        pytest.param(
            "train.accelerator=cuda",
            "train.accelerator",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
        ("model.unet_widths=[-4, 4]", "model.unet_widths"),
    ],
)
def test_what_would_stop_the_training_is_refused_before_anything_is_written(
    override: str, named: str, settings: Settings
) -> None:
    with pytest.raises(InputError, match=named):
        prepare_run(params(override), settings)
    assert not settings.runs_root.exists()
