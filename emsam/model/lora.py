"""Low-rank adaptation of the encoder: frozen weights plus a trained product of two thin ones.

References
----------
.. [1] Hu et al., LoRA: low-rank adaptation of large language models, ICLR 2022.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

PLACES = {"qkv": "attn", "proj": "attn", "lin1": "mlp", "lin2": "mlp"}
"""Linear layers that ``train.lora_places`` may name → the part of a block that they are in."""


class LoraLinear(nn.Module):
    """A frozen linear layer plus ``up @ down``, which starts at zero.

    Parameters
    ----------
    base
        The layer that is adapted; its weights stay as they are.
    rank
        Rows of ``down`` (rank, in) and columns of ``up`` (out, rank).
    """

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.lora_down = nn.Parameter(base.weight.new_empty(rank, base.in_features))
        self.lora_up = nn.Parameter(base.weight.new_zeros(base.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_down, a=5**0.5)

    @property
    def bias(self) -> Tensor:
        """What a zero token becomes."""
        return self.base.bias

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) → (…, out)."""
        return self.base(x) + linear(linear(x, self.lora_down), self.lora_up)

    def merged_weight(self) -> Tensor:
        """Weight (out, in) of one plain layer with the same output."""
        return self.base.weight + self.lora_up @ self.lora_down


def add_lora(blocks: nn.ModuleList, rank: int, places: Sequence[str]) -> None:
    """Adapt the linear layers ``places`` of SAM's ``blocks``, in place."""
    for block in blocks:
        for place in places:
            parent = block.get_submodule(PLACES[place])
            setattr(parent, place, LoraLinear(getattr(parent, place), rank))


@torch.no_grad()
def merged_state(model: nn.Module) -> dict[str, Tensor]:
    """The state of ``model`` as a network without adapted layers has it."""
    state = dict(model.state_dict())
    for name, layer in model.named_modules():
        if isinstance(layer, LoraLinear):
            for part in ("base.weight", "base.bias", "lora_down", "lora_up"):
                del state[f"{name}.{part}"]
            state[f"{name}.weight"] = layer.merged_weight()
            state[f"{name}.bias"] = layer.bias
    return state


def adapters(model: nn.Module) -> dict[str, Tensor]:
    """The low-rank additions alone."""
    return {name: value for name, value in model.state_dict().items() if ".lora_" in name}


def load_merged_state(
    model: nn.Module, state: Mapping[str, Tensor], additions: Mapping[str, Tensor]
) -> None:
    """Undo :func:`merged_state`: ``model`` has its adapted layers and their frozen weights."""
    frozen = [name.replace(".lora_up", ".base.") for name in adapters(model) if "_up" in name]
    names = model.state_dict().keys()
    own = {name: value for name, value in state.items() if name in names}
    missing, unexpected = model.load_state_dict({**own, **additions}, strict=False)
    wrong = [*unexpected, *(name for name in missing if not name.startswith(tuple(frozen)))]
    if wrong:
        raise RuntimeError(f"state of another network: {wrong[:3]}")
