"""The image encoder of Segment Anything, for grey images of any size and inner features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from emsam.model.torchvision_ops import declare_missing_operators

TOKEN = 16
"""Side of an image patch that becomes one token, pixels."""


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
    "vit_t": EncoderConfig(192, 8, 3, (1, 3, 5, 7), window=8, image_size=256),
    "vit_s": EncoderConfig(384, 12, 6, (2, 5, 8, 11), window=14, image_size=512),
    "vit_b": EncoderConfig(768, 12, 12, (2, 5, 8, 11), window=14, image_size=1024),
    "vit_l": EncoderConfig(1024, 24, 16, (5, 11, 17, 23), window=14, image_size=1024),
    "vit_h": EncoderConfig(1280, 32, 16, (7, 15, 23, 31), window=14, image_size=1024),
}
"""``vit_b``, ``vit_l`` and ``vit_h`` have Meta's sizes; the smaller two are for CPUs and tests."""


class SamEncoder(nn.Module):
    """segment-anything's ``ImageEncoderViT`` without its neck.

    Position embeddings and relative positions are interpolated, so any height and width that is
    a multiple of :data:`TOKEN` will do. SAM's pixel mean and standard deviation are part of it.

    References
    ----------
    .. [1] Kirillov et al., Segment Anything, ICCV 2023.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        declare_missing_operators()
        from segment_anything.modeling import ImageEncoderViT

        self.config = config
        self.pixel_mean: Tensor
        self.pixel_std: Tensor
        self.vit = ImageEncoderViT(
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
        del self.vit.neck
        nn.init.trunc_normal_(self.vit.pos_embed, std=0.02)
        mean = torch.tensor([123.675, 116.28, 103.53]) / 255
        std = torch.tensor([58.395, 57.12, 57.375]) / 255
        self.register_buffer("pixel_mean", mean.view(1, 3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", std.view(1, 3, 1, 1), persistent=False)

    def forward_intermediates(self, image: Tensor, taps: Sequence[int]) -> list[Tensor]:
        """Features after the blocks ``taps``, in one pass that stops at the last of them.

        Parameters
        ----------
        image
            (n, 1, y, x), grey in [0, 1]; y and x are multiples of :data:`TOKEN`.
        taps
            Indices of blocks, ascending.

        Returns
        -------
        list of Tensor
            One (n, width, y / 16, x / 16) for each tap.
        """
        x = (image - self.pixel_mean) / self.pixel_std  # (n, 3, y, x)
        x = self.vit.patch_embed(x)  # (n, y/16, x/16, width)
        x = x + self._position(x.shape[1], x.shape[2])
        features = []
        for index, block in enumerate(self.vit.blocks[: max(taps) + 1]):
            x = block(x)
            if index in taps:
                features.append(x.permute(0, 3, 1, 2))
        return features

    def _position(self, height: int, width: int) -> Tensor:
        """Position embedding on a grid of height × width tokens, (1, height, width, c)."""
        embedding = self.vit.pos_embed
        if embedding.shape[1:3] == (height, width):
            return embedding
        resized = interpolate(
            embedding.permute(0, 3, 1, 2), (height, width), mode="bicubic", antialias=False
        )
        return resized.permute(0, 2, 3, 1)
