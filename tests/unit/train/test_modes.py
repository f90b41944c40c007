from __future__ import annotations

import pytest
import torch
from torch import nn

from emsam.errors import InputError
from emsam.model.build import build_model
from emsam.params import AugmentParams, Params, load_params
from emsam.train.modes import choose_what_learns, parameter_groups

SMALL = ("model.decoder_widths=[4,6,8,8]", "model.unet_widths=[4,6]")
FROZEN = (*SMALL, "model.weights=abcdef")
EACH_OFF = tuple(f"augment.{name}=0" for name in AugmentParams().beyond_flips)


def network(*overrides: str) -> tuple[nn.Module, Params]:
    params = load_params(None, overrides)
    model = build_model(params)
    choose_what_learns(model, params.train)
    return model, params


def learning(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def of_group(model: nn.Module, params: Params, key: str) -> dict[str, float]:
    """What the group of each parameter says under ``key``, by the parameter's name."""
    value = {
        id(member): group[key]
        for group in parameter_groups(model, params.train)
        for member in group["params"]
    }
    return {name: value[id(parameter)] for name, parameter in model.named_parameters()}


def test_full_trains_everything() -> None:
    model, _ = network(*SMALL)
    assert learning(model) == {name for name, _ in model.named_parameters()}


def test_decoder_leaves_the_encoder_as_it_is() -> None:
    model, _ = network(*FROZEN, "train.mode=decoder")
    names = learning(model)
    assert names
    assert not any(name.startswith("encoder.") for name in names)
    assert names == {n for n, _ in model.named_parameters() if not n.startswith("encoder.")}


def test_lora_adds_to_the_places_that_are_named() -> None:
    model, _ = network(
        *FROZEN, "train.mode=lora", "train.lora_rank=3", "train.lora_places=[qkv, lin2]"
    )
    of_encoder = {name for name in learning(model) if name.startswith("encoder.")}
    assert len(of_encoder) == 2 * 2 * 4  # down and up, two places, four blocks
    assert all(".lora_" in name and (".qkv." in name or ".lin2." in name) for name in of_encoder)
    assert model.get_parameter("encoder.vit.blocks.0.attn.qkv.lora_up").shape == (3 * 128, 3)


def test_each_block_learns_slower_than_the_next() -> None:
    model, params = network(
        *SMALL, "train.layer_decay=0.5", "train.encoder_learning_rate=0.001",
        "train.learning_rate=0.1",
    )  # fmt: skip
    named = of_group(model, params, "peak")
    assert named["head.spell.weight"] == 0.1
    assert named["encoder.vit.blocks.3.norm1.weight"] == 0.001
    assert named["encoder.vit.blocks.2.mlp.lin1.weight"] == 0.0005
    assert named["encoder.vit.blocks.0.attn.qkv.weight"] == pytest.approx(0.001 * 0.5**3)
    assert named["encoder.vit.patch_embed.proj.weight"] == pytest.approx(0.001 * 0.5**4)
    assert named["encoder.vit.pos_embed"] == pytest.approx(0.001 * 0.5**4)


def test_every_learning_parameter_is_in_one_group() -> None:
    for overrides in (SMALL, (*FROZEN, "train.mode=lora"), (*SMALL, "model.name=unet")):
        model, params = network(*overrides)
        members = [
            id(member)
            for group in parameter_groups(model, params.train)
            for member in group["params"]
        ]
        wanted = [id(parameter) for parameter in model.parameters() if parameter.requires_grad]
        assert sorted(members) == sorted(wanted)


def test_norms_biases_and_positions_do_not_decay() -> None:
    model, params = network(*SMALL, "train.weight_decay=0.3")
    named = of_group(model, params, "weight_decay")
    assert named["encoder.vit.blocks.0.attn.qkv.weight"] == 0.3
    assert named["head.spell.weight"] == 0.3
    for name in ("attn.qkv.bias", "norm1.weight", "attn.rel_pos_h"):
        assert named[f"encoder.vit.blocks.0.{name}"] == 0
    assert named["encoder.vit.pos_embed"] == 0


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["train.mode=lora"], "model.weights"),
        (["train.mode=decoder"], "model.weights"),
        (["model.name=unet", "train.mode=decoder"], "unet"),
        (["model.name=unet", "model.weights=official"], "unet"),
        (["model.weights=meta"], "model.weights"),
        (["train.cached_features=true"], "train.mode=decoder"),
        (
            ["train.cached_features=true", "train.mode=decoder", "train.patches=grid",
             "model.weights=official"],
            "set augment.amount to 0, or each of these: augment.scale, .*, augment.missing",
        ),
        (
            ["train.cached_features=true", "train.mode=decoder", "train.patches=grid",
             "model.weights=official", *EACH_OFF, "augment.blur=1"],
            "each of these: augment.blur$",
        ),
        (["train.lora_places=[]"], "lora_places"),
        (["train.lora_places=[head]"], "qkv"),
        (["train.lora_rank=0"], "lora_rank"),
        (["train.layer_decay=1.5"], "layer_decay"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(overrides: list[str], named: str) -> None:
    with pytest.raises(InputError, match=named):
        load_params(None, overrides)


def test_a_frozen_encoder_gets_no_gradient() -> None:
    model, _ = network(*FROZEN, "train.mode=decoder")
    model.train()(torch.rand((2, 1, 32, 32))).square().mean().backward()
    assert model.get_parameter("encoder.vit.pos_embed").grad is None
    assert model.get_parameter("head.spell.weight").grad is not None
