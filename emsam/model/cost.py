"""What a network costs: parameters, operations, memory; nothing is computed for it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from emsam.model.build import build_model
from emsam.model.sam_network import SamNetwork
from emsam.params import Params

SIDE = 1024
"""Side of the image that costs are told for, pixels."""


@dataclass(frozen=True)
class Cost:
    """Cost of a network on one image.

    Attributes
    ----------
    parts
        Parameters of each part.
    encoder_flops, decoder_flops
        Floating-point operations of a forward pass, a multiplication and an addition being two;
        a network without SAM's encoder is all decoder.
    weight_bytes
        Of the parameters in 32 bits. Training needs four times that: weights, gradients and the
        two moments of Adam.
    activation_bytes
        What a training step keeps of the forward pass, per image in 32 bits.
    """

    parts: dict[str, int]
    encoder_flops: int
    decoder_flops: int
    weight_bytes: int
    activation_bytes: int

    @property
    def parameters(self) -> int:
        return sum(self.parts.values())

    @property
    def ratio(self) -> float | None:
        """Decoder's operations over the encoder's; None without an encoder."""
        return self.decoder_flops / self.encoder_flops if self.encoder_flops else None


def measure_cost(params: Params, side: int = SIDE) -> Cost:
    """Cost of the network of ``params`` on an image of ``side`` × ``side`` pixels.

    Operations are counted by torch's ``FlopCounterMode`` with attention as segment-anything
    writes it, so that the encoder's cost is that of the model and not of our kernel.

    Raises
    ------
    InputError
        Widths or an encoder that do not fit the network.
    """
    as_written = params.model.model_copy(update={"attention": "reference"})
    with torch.device("meta"):
        model = build_model(params).train()
        reference = build_model(params.model_copy(update={"model": as_written})).eval()
    with FakeTensorMode(
        allow_non_fake_inputs=True
    ):  # tensors of the CPU, for which torch chooses kernels, without bytes
        model.to_empty(device="cpu")
        reference.to_empty(device="cpu")
        image = torch.empty(1, 1, side, side)
        encoder = 0
        if isinstance(reference, SamNetwork):
            with FlopCounterMode(display=False) as counter:
                reference.encode(image)
            encoder = counter.get_total_flops()
        with FlopCounterMode(display=False) as counter:
            reference(image)
        kept = _kept_bytes(model, image)
    return Cost(
        parts={name: size for name, part in model.named_children() if (size := _size(part))},
        encoder_flops=encoder,
        decoder_flops=counter.get_total_flops() - encoder,
        weight_bytes=4 * _size(model),
        activation_bytes=kept,
    )


def _size(part: nn.Module) -> int:
    return sum(parameter.numel() for parameter in part.parameters())


def _kept_bytes(model: nn.Module, image: Tensor) -> int:
    """Bytes of all tensors that the forward pass keeps for the backward pass, each once."""
    own = {id(parameter) for parameter in model.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        base = tensor if tensor._base is None else tensor._base
        if id(base) not in own:
            kept[id(base)] = base
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        model(image)
    return sum(tensor.numel() * tensor.element_size() for tensor in kept.values())
