"""From parameters to a network."""

from __future__ import annotations

from torch import nn

from emsam.errors import InputError
from emsam.model import published
from emsam.model.emsam_net import EmSam
from emsam.model.encoder import ENCODERS, SamEncoder
from emsam.model.unet import UNet
from emsam.params import Params


def build_model(params: Params) -> nn.Module:
    """The network of ``params.model``, freshly initialised from torch's generator.

    It maps (n, 1, y, x) images in [0, 1], sides multiples of 16, to logits (n, c, y, x): a channel
    for each of ``params.maps``. With ``params.loss.deep_supervision`` a list in training: those
    logits, then logits at 1/2 and at 1/4.

    Raises
    ------
    InputError
        Widths that do not fit the network.
    """
    channels, sides = len(params.maps), params.loss.deep_supervision > 0
    if params.model.name == "unet":
        if not 2 <= len(params.model.unet_widths) <= 5:
            raise InputError(
                f"model.unet_widths = {params.model.unet_widths}: give two to five channel counts"
            )
        return UNet(params.model.unet_widths, channels, sides=sides)
    encoder = SamEncoder(
        ENCODERS[params.model.encoder],
        attention=params.model.attention,
        position=params.model.name == "emsam",
        gradient_checkpointing=params.train.gradient_checkpointing,
    )
    if params.model.name == "published":
        if encoder.config.depth <= max(published.TAPS):
            raise InputError(
                f"model.encoder = {params.model.encoder!r}: model.name = 'published' taps block "
                f"{max(published.TAPS)}; take vit_s or a larger one"
            )
        return published.Published(encoder, channels)
    if len(params.model.decoder_widths) != 4:
        raise InputError(
            f"model.decoder_widths = {params.model.decoder_widths}: give four channel counts, "
            "for 1/1, 1/2, 1/4 and 1/8"
        )
    return EmSam(encoder, params.model.decoder_widths, channels, sides=sides)
