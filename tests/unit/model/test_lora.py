from __future__ import annotations

import pytest
import torch

from emsam.model.build import build_model
from emsam.model.emsam_net import EmSam
from emsam.model.lora import adapters, add_lora, load_merged_state, merged_state
from emsam.params import load_params

PLACES = ("qkv", "proj", "lin1", "lin2")
SMALL = load_params(None, ["model.decoder_widths=[4,6,8,8]"])


def adapted(*, seed: int = 0) -> EmSam:
    """A network whose additions are not zero any more."""
    torch.manual_seed(seed)
    model = build_model(SMALL).eval()
    assert isinstance(model, EmSam)
    add_lora(model.encoder.vit.blocks, 4, PLACES)
    for name, value in adapters(model).items():
        torch.nn.init.normal_(model.get_parameter(name), std=0.1)
        assert value.numel()
    return model


def test_additions_start_at_nothing() -> None:
    torch.manual_seed(0)
    model = build_model(SMALL).eval()
    assert isinstance(model, EmSam)
    image = torch.rand((1, 1, 64, 64))
    with torch.inference_mode():
        before = model(image)
        add_lora(model.encoder.vit.blocks, 4, PLACES)
        torch.testing.assert_close(model(image), before, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("attention", ["fused", "reference"])
def test_merged_equals_unmerged(attention: str) -> None:
    model = adapted()
    model.encoder.attention = attention  # type: ignore[assignment]
    plain = build_model(SMALL).eval()
    plain.load_state_dict(merged_state(model))
    image = torch.rand((2, 1, 64, 80))
    with torch.inference_mode():
        torch.testing.assert_close(plain(image), model(image), rtol=1e-5, atol=1e-5)
        plain.load_state_dict(build_model(SMALL).state_dict())
        assert not torch.allclose(plain(image), model(image), atol=1e-3)


def test_a_checkpoint_brings_the_adapted_network_back_to_the_bit() -> None:
    model = adapted()
    state, additions = merged_state(model), adapters(model)
    again = adapted(seed=1)
    for name, value in model.state_dict().items():
        if ".base." in name:  # what the trainer has from the pretrained weights
            again.state_dict()[name].copy_(value)
    load_merged_state(again, state, additions)
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_the_state_of_another_network_is_refused() -> None:
    model = adapted()
    state = merged_state(model)
    with pytest.raises(RuntimeError, match="head"):
        load_merged_state(
            model, {k: v for k, v in state.items() if "head" not in k}, adapters(model)
        )


def test_a_network_without_additions_is_its_own_merged_state() -> None:
    model = build_model(SMALL)
    state = merged_state(model)
    assert state.keys() == model.state_dict().keys()
    assert adapters(model) == {}
