from __future__ import annotations

import math
from pathlib import Path

import pytest

from emsam.errors import InputError
from emsam.params import AugmentParams, Params, dump_params, load_params


def augment(*overrides: str) -> AugmentParams:
    return load_params(None, [f"augment.{item}" for item in overrides]).augment


def test_a_number_is_the_strength_and_zero_is_off() -> None:
    params = augment("blur=3", "poisson=500", "gain=0")
    assert params.poisson.photons == 500
    assert params.blur.strength == 3
    assert params.blur.probability == AugmentParams().blur.probability
    assert "gain" not in params.beyond_flips
    assert "blur" in params.beyond_flips


def test_what_is_not_said_of_a_change_stays_at_its_default() -> None:
    params = augment("elastic.strength=3", "missing.count=5", "poisson.photons=9")
    assert params.elastic == AugmentParams().elastic.model_copy(update={"strength": 3})
    assert params.missing == AugmentParams().missing.model_copy(update={"count": 5})
    assert params.poisson == AugmentParams().poisson.model_copy(update={"photons": 9})


def test_dumped_parameters_load_as_the_same(tmp_path: Path) -> None:
    params = load_params(None, ["augment.gain=0", "augment.slip=3", "augment.amount=0.5"])
    (tmp_path / "params.yaml").write_text(dump_params(params))
    assert load_params(tmp_path / "params.yaml") == params


def test_parameters_of_earlier_runs_are_still_read(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text("augment: {flips: true, gain: 0.15, offset: 0.1, gamma: 0.25, noise: 0.04}\n")
    assert load_params(file) == Params()


@pytest.mark.parametrize("name", AugmentParams().beyond_flips)
def test_each_change_can_be_switched_off(name: str) -> None:
    assert name not in augment(f"{name}=0").beyond_flips
    assert name not in augment(f"{name}.probability=0").beyond_flips
    assert augment("amount=0").beyond_flips == []


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("gain=-1", "augment.gain.strength = -1"),
        ("gain=.nan", "augment.gain.strength = nan"),
        ("gain=much", "a number or a mapping"),
        ("gain=[1, 2]", "a number or a mapping"),
        ("gain=true", "a number or a mapping"),
        ("gain.stregth=1", "did you mean augment.gain.strength?"),
        ("elastc=1", "did you mean augment.elastic?"),
        ("blur.probability=1.5", "augment.blur.probability = 1.5"),
        ("amount=2", "augment.amount = 2"),
        ("poisson=-5", "augment.poisson.photons = -5"),
        ("missing.count=0", "augment.missing.count = 0"),
        ("missing=1.5", "augment.missing.strength = 1.5: must be at most 1"),
        ("affine=0.7", "augment.affine.strength = 0.7: must be at most 0.5"),
        ("elastic=30", "augment.elastic.strength = 30: must be at most 24"),
    ],
)
def test_what_no_image_could_have_come_with_is_refused(typed: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        augment(typed)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_margin_holds_every_deformation_and_nothing_is_read_for_none() -> None:
    assert augment("amount=0").margin(256) == 0
    assert augment("scale=0", "affine=0", "elastic=0", "slip=0").margin(256) == 0
    only_scale = augment("scale=0.5", "affine=0", "elastic=0", "slip=0")
    assert only_scale.margin(256) == 64
    everything = augment("scale=0.5", "affine=0.1", "elastic=4", "slip=3")
    assert everything.margin(256) == math.ceil(128 * (1.5 * 1.2 - 1) + 4 + 3)
