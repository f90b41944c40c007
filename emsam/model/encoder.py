"""The image encoder of Segment Anything, for grey images of any size and inner features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.utils.checkpoint import checkpoint

from emsam.model.attention import fused_attention
from emsam.model.torchvision_ops import declare_missing_operators

Attention = Literal["auto", "fused", "reference"]

TOKEN = 16
"""Side of an image patch that becomes one token, pixels."""

_FEW_TOKENS = 256
"""With no more, a CPU is as fast with the matrix of attention as without it."""


@dataclass(frozen=True)
class EncoderConfig:
    """Size of an encoder.

    Attributes
    ----------
    global_blocks
        Blocks that attend over the whole image; the others attend within windows. The decoder
        taps the encoder after these blocks.
    window
        Side of a window in tokens.
    image_size
        Side of the image that the position embedding was made for, pixels.
    """

    width: int
    depth: int
    heads: int
    global_blocks: tuple[int, int, int, int]
    window: int
    image_size: int


ENCODERS: dict[str, EncoderConfig] = {
    "vit_t": EncoderConfig(128, 4, 2, (0, 1, 2, 3), window=8, image_size=256),
    "vit_s": EncoderConfig(384, 12, 6, (2, 5, 8, 11), window=14, image_size=512),
    "vit_b": EncoderConfig(768, 12, 12, (2, 5, 8, 11), window=14, image_size=1024),
    "vit_l": EncoderConfig(1024, 24, 16, (5, 11, 17, 23), window=14, image_size=1024),
    "vit_h": EncoderConfig(1280, 32, 16, (7, 15, 23, 31), window=14, image_size=1024),
}
"""``vit_b``, ``vit_l`` and ``vit_h`` have Meta's sizes; the smaller two are for CPUs and tests."""


def image_encoder(config: EncoderConfig) -> nn.Module:
    """segment-anything's own ``ImageEncoderViT`` of this size, freshly initialised.

    Its neck is left out: it maps normalised images (n, 3, y, x) of its native size to features
    (n, width, y / 16, x / 16).
    """
    declare_missing_operators()
    from segment_anything.modeling import ImageEncoderViT

    vit = ImageEncoderViT(
        img_size=config.image_size,
        patch_size=TOKEN,
        embed_dim=config.width,
        depth=config.depth,
        num_heads=config.heads,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=config.window,
        global_attn_indexes=config.global_blocks,
    )
    vit.neck = nn.Identity()
    return cast("nn.Module", vit)


class SamEncoder(nn.Module):
    """segment-anything's ``ImageEncoderViT`` without its neck.

    Position embeddings and relative positions are interpolated, so any height and width that is
    a multiple of :data:`TOKEN` will do. SAM's pixel mean and standard deviation are part of it.

    Parameters
    ----------
    attention
        ``"fused"`` never writes the (tokens × tokens) matrix down, ``"reference"`` is
        segment-anything's own forward, ``"auto"`` is the faster one.
    position
        Whether position embeddings are added.
    gradient_checkpointing
        Compute a block's inner values again in the backward pass instead of keeping them.

    References
    ----------
    .. [1] Kirillov et al., Segment Anything, ICCV 2023.
    """

    def __init__(
        self,
        config: EncoderConfig,
        *,
        attention: Attention = "auto",
        position: bool = True,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.config = config
        self.attention = attention
        self.position = position
        self.gradient_checkpointing = gradient_checkpointing
        self.pixel_mean: Tensor
        self.pixel_std: Tensor
        vit: Any = image_encoder(config)
        nn.init.trunc_normal_(vit.pos_embed, std=0.02)
        self.vit: Any = vit
        mean = torch.tensor([123.675, 116.28, 103.53]) / 255
        std = torch.tensor([58.395, 57.12, 57.375]) / 255
        self.register_buffer("pixel_mean", mean.view(1, 3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", std.view(1, 3, 1, 1), persistent=False)

    def forward_intermediates(
        self, image: Tensor, taps: Sequence[int], *, stop_early: bool = True
    ) -> list[Tensor]:
        """Features after the blocks ``taps``, in one pass.

        Parameters
        ----------
        image
            (n, 1, y, x), grey in [0, 1]; y and x are multiples of :data:`TOKEN`.
        taps
            Indices of blocks, ascending.
        stop_early
            Leave out the blocks behind the last tap.

        Returns
        -------
        list of Tensor
            One (n, width, y / 16, x / 16) for each tap.
        """
        x = (image - self.pixel_mean) / self.pixel_std  # (n, 3, y, x)
        x = self.vit.patch_embed(x)  # (n, y/16, x/16, width)
        if self.position:
            x = x + self.position_embedding(x.shape[1], x.shape[2])
        features = []
        last = max(taps) if stop_early else self.config.depth - 1
        for index, block in enumerate(self.vit.blocks[: last + 1]):
            if self.gradient_checkpointing and torch.is_grad_enabled():
                x = checkpoint(self._block, block, x, use_reentrant=False)
            else:
                x = self._block(block, x)
            if index in taps:
                features.append(x.permute(0, 3, 1, 2))
        return features

    def _block(self, block: Any, x: Tensor) -> Tensor:
        """(n, h, w, c) → (n, h, w, c)."""
        if self.attention == "reference" or (
            self.attention == "auto" and not _gains_from_fusion(x, block.window_size)
        ):
            return cast("Tensor", block(x))
        x = x + fused_attention(block.attn, block.norm1(x), block.window_size)
        return cast("Tensor", x + block.mlp(block.norm2(x)))

    def position_embedding(self, height: int, width: int) -> Tensor:
        """Position embedding on a grid of height × width tokens, (1, height, width, c)."""
        embedding = self.vit.pos_embed
        if embedding.shape[1:3] == (height, width):
            return embedding
        resized = interpolate(
            embedding.permute(0, 3, 1, 2), (height, width), mode="bicubic", antialias=False
        )
        return resized.permute(0, 2, 3, 1)


def _gains_from_fusion(x: Tensor, window: int) -> bool:
    """Whether fused attention of (n, h, w, c) is faster; on a CPU small matrices are not."""
    height, width = x.shape[1:3]
    padded = window and (height % window or width % window)
    attended = window**2 if window else height * width
    return bool(x.device.type != "cpu" or padded or attended > _FEW_TOKENS)
