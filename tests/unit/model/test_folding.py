from __future__ import annotations

import pytest
import torch
from torch import nn

from emsam.model.build import build_model
from emsam.model.folding import fold_norms
from emsam.params import Params
from emsam.params.network import ModelParams


@pytest.mark.parametrize("name", ["unet", "emsam"])
def test_a_folded_network_says_the_same_and_leaves_the_other_alone(name: str) -> None:
    torch.manual_seed(0)
    model = build_model(Params(model=ModelParams(name=name)))
    image = torch.rand(2, 1, 64, 96)
    model(image)  # norms that have seen something
    model.eval()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    folded = fold_norms(model)
    with torch.inference_mode():
        torch.testing.assert_close(folded(image), model(image), atol=1e-4, rtol=1e-4)
    assert not any(isinstance(each, nn.BatchNorm2d) for each in folded.modules())
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_what_learns_is_not_folded() -> None:
    model = build_model(Params(model=ModelParams(name="unet")))
    assert fold_norms(model) is model
