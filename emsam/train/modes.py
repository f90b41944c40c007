"""What of the network learns, and how fast each part of it."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from emsam.model.lora import add_lora
from emsam.model.sam_network import SamNetwork
from emsam.params import TrainParams


def choose_what_learns(model: nn.Module, budget: TrainParams) -> None:
    """Freeze or adapt the encoder of ``model`` as ``budget.mode`` says, in place."""
    if budget.mode == "full":
        return
    assert isinstance(model, SamNetwork)  # params allow no other
    model.encoder.requires_grad_(False)
    if budget.mode == "lora":
        add_lora(model.encoder.vit.blocks, budget.lora_rank, budget.lora_places)


def parameter_groups(model: nn.Module, budget: TrainParams) -> list[dict[str, Any]]:
    """Groups for an optimiser; ``peak`` of each is the learning rate after the warm-up.

    SAM's encoder learns at a rate of its own, which ``budget.layer_decay`` lowers from the last
    block to the first. Biases, norms and positions do not decay.

    References
    ----------
    .. [1] Bao et al., BEiT, ICLR 2022 (layer-wise decay of the learning rate).
    """
    depth = model.encoder.config.depth if isinstance(model, SamNetwork) else 0
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        rate = budget.learning_rate
        if name.startswith("encoder."):
            below_last = depth - _layer(name)
            rate = budget.encoder_learning_rate * budget.layer_decay**below_last
        decays = parameter.ndim > 1 and "pos" not in name.rsplit(".", 1)[-1]
        key = (rate, budget.weight_decay if decays else 0.0)
        groups.setdefault(key, []).append(parameter)
    return [
        {"params": members, "lr": rate, "peak": rate, "weight_decay": decay}
        for (rate, decay), members in groups.items()
    ]


def _layer(name: str) -> int:
    """0 for the patch embedding and the positions, 1 for the first block …"""
    parts = name.split(".")
    return int(parts[parts.index("blocks") + 1]) + 1 if "blocks" in parts else 0
