"""What `emsam model info` says of a network's cost."""

from __future__ import annotations

import pytest
import torch

from emsam.errors import InputError
from emsam.model.build import build_model
from emsam.model.cost import measure_cost
from emsam.params import load_params


def test_the_decoder_of_emsam_costs_a_twentieth_of_vit_b() -> None:
    cost = measure_cost(load_params(None, ["model.encoder=vit_b"]))
    assert cost.ratio == pytest.approx(0.052, abs=0.002)
    assert cost.encoder_flops / 2e9 == pytest.approx(483, abs=1)  # GMAC, without the neck


def test_the_published_decoder_costs_what_was_published() -> None:
    """832 GMAC at 1024²; the head for our targets is a little more."""
    cost = measure_cost(load_params(None, ["model.encoder=vit_b", "model.name=published"]))
    assert cost.decoder_flops / 2e9 == pytest.approx(832, abs=1)
    assert cost.ratio == pytest.approx(1.72, abs=0.01)


def test_the_unet_is_all_decoder() -> None:
    cost = measure_cost(load_params(None, ["model.name=unet"]), side=64)
    assert (cost.encoder_flops, cost.ratio) == (0, None)
    assert cost.decoder_flops > 0


@pytest.mark.parametrize("name", ["emsam", "unet"])
def test_parameters_are_those_of_the_network(name: str) -> None:
    params = load_params(None, [f"model.name={name}"])
    cost = measure_cost(params, side=64)
    assert cost.parameters == sum(p.numel() for p in build_model(params).parameters())
    assert cost.weight_bytes == 4 * cost.parameters


def test_fused_attention_and_checkpointing_keep_less() -> None:
    kept = {}
    for change in ("model.attention=reference", "model.attention=fused",
                   "train.gradient_checkpointing=true"):  # fmt: skip
        kept[change] = measure_cost(load_params(None, [change]), side=512).activation_bytes
    reference, fused, checkpointed = kept.values()
    assert fused < reference
    assert checkpointed < fused


def test_what_is_kept_is_what_autograd_keeps() -> None:
    params = load_params(None, ["model.attention=reference"])
    model, seen = build_model(params), {}
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage  # holds it, so that no address comes twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(torch.rand((1, 1, 64, 64)))
    real = sum(storage.nbytes() for storage in seen.values())
    assert measure_cost(params, side=64).activation_bytes == pytest.approx(real, rel=0.02)


def test_published_refuses_an_encoder_without_its_taps() -> None:
    with pytest.raises(InputError, match="vit_s"):
        measure_cost(load_params(None, ["model.name=published", "model.encoder=vit_t"]))
