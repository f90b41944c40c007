"""The data that a network sees, and the network."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from emsam.params.base import FrozenModel, Positive

Widths = Annotated[tuple[Annotated[int, Field(ge=1, le=8192)], ...], Field(max_length=8)]


class DataParams(FrozenModel):
    """The data set that ``dvc repro`` ingests and trains on."""

    name: str = Field("demo", description="name of the volume")
    shape: tuple[Positive, Positive, Positive] = Field(
        (32, 256, 256), description="synthetic volume, z,y,x"
    )
    seed: int = Field(0, ge=0, description="of the synthetic volume")


class ModelParams(FrozenModel):
    """Which network.

    ``emsam`` is SAM's encoder with our U-shaped decoder, ``published`` the same encoder with the
    decoder of the paper, ``unet`` the baseline without SAM.
    """

    name: Literal["emsam", "published", "unet"] = Field(
        "emsam", description="SAM with our decoder, SAM with the paper's, or the baseline"
    )
    encoder: Literal["vit_t", "vit_s", "vit_b", "vit_l", "vit_h"] = Field(
        "vit_t", description="SAM's encoder; vit_t and vit_s are small ones of ours"
    )
    weights: str | None = Field(
        None,
        pattern=r"^(official|[0-9a-f]{6,64})$",
        description="the encoder's first weights, taken in by 'emsam weights get': official, or "
        "the first digits of their sha256; null is random",
    )
    attention: Literal["auto", "fused", "reference"] = Field(
        "auto", description="how the encoder attends: all give the same, reference is slow"
    )
    decoder_widths: Widths = Field(
        (16, 32, 64, 96),
        description="channels of emsam's decoder for each pixel at 1/1, and at 1/2, 1/4, 1/8",
    )
    unet_widths: Widths = Field(
        (16, 32, 64, 96), description="channels of the U-Net at 1/1, 1/2, 1/4, 1/8"
    )
