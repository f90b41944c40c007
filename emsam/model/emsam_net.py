"""EM-SAM: SAM's encoder with a slim U-shaped decoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_unshuffle

from emsam.model.encoder import SamEncoder
from emsam.model.layers import ConvBlock, ConvPyramid, ShuffleUp, SideHeads, TapUp
from emsam.model.sam_network import SamNetwork


class EmSam(SamNetwork):
    """U-shaped network whose deep half is SAM's image encoder.

    Four taps of the encoder, all at 1/16, enter the decoder at 1/16, 1/8, 1/4 and 1/2. What is
    finer than a token comes from a convolutional stem on the raw image. No convolution runs at
    1/1: the pixels enter at 1/2 as four channels, the last features, which have met them again,
    stay there four times as wide, and each spells out the logits of its four pixels. Nothing is
    lost, and a wide convolution at 1/2 does more than narrow ones at 1/1 that cost as much. What
    comes from below, from the stem and from a tap is added up, not concatenated, which halves the
    first convolution of each level. The finer taps pass projections that start at zero: at first
    this is a U-Net with the encoder below it, and it takes from the encoder what helps.

    Parameters
    ----------
    encoder
        It is tapped after its blocks with global attention.
    widths
        Channels of the decoder for each pixel at 1/1, and of stem and decoder at 1/2, 1/4, 1/8.
    out_channels
        Maps.
    sides
        Whether there are heads at 1/2 and 1/4 for deep supervision.

    References
    ----------
    .. [1] EM-SAM, Optics and Precision Engineering 32(18), 2024,
           doi 10.37188/OPE.20243218.2836.
    .. [2] Hatamizadeh et al., UNETR: transformers for 3D medical image segmentation, WACV 2022.
    .. [3] Shi et al., Real-time single image and video super-resolution using an efficient
           sub-pixel convolutional neural network, CVPR 2016 (pixels as channels).
    .. [4] Chaurasia & Culurciello, LinkNet: exploiting encoder representations for efficient
           semantic segmentation, VCIP 2017 (sums in place of concatenation).
    """

    def __init__(
        self, encoder: SamEncoder, widths: tuple[int, ...], out_channels: int, *, sides: bool
    ) -> None:
        super().__init__()
        w0, w1, w2, w3 = widths
        tap = encoder.config.width
        self.encoder = encoder
        self.taps = encoder.config.global_blocks
        self.stem = ConvPyramid(4, (w1, w2, w3), first_depth=1)
        self.tap16 = TapUp(tap, w3, 1)
        self.tap8 = TapUp(tap, w3, 2, silent=True)
        self.tap4 = TapUp(tap, w2, 4, silent=True)
        self.tap2 = TapUp(tap, w1, 8, silent=True)
        self.up8 = _Up(w3, w3)
        self.up4 = _Up(w3, w2)
        self.up2 = _Up(w2, w1, depth=1)
        self.fine = ConvBlock(w1 + 4, 4 * w0, 1)
        self.head = ShuffleUp(4 * w0, out_channels, 2)
        self.sides = SideHeads((w1, w2) if sides else (), out_channels)

    def decode(self, image: Tensor, taps: list[Tensor]) -> Tensor | list[Tensor]:
        """An image (n, 1, y, x) and its features → logits (n, out_channels, y, x)."""
        tap2, tap4, tap8, tap16 = taps  # each (n, width, y/16, x/16)
        pixels = pixel_unshuffle(image, 2).contiguous(memory_format=torch.channels_last)
        half, quarter, eighth = self.stem(pixels)  # pixels: (n, 4, y/2, x/2)
        x = self.tap16(tap16)  # (n, w3, y/16, x/16)
        x = self.up8(x, eighth + self.tap8(tap8))  # (n, w3, y/8, x/8)
        quarter = self.up4(x, quarter + self.tap4(tap4))  # (n, w2, y/4, x/4)
        half = self.up2(quarter, half + self.tap2(tap2))  # (n, w1, y/2, x/2)
        x = self.fine(torch.cat([half, pixels], dim=1))  # (n, 4 · w0, y/2, x/2)
        return self.sides(self.head(x), (half, quarter))


class _Up(nn.Module):
    """Doubles the resolution and adds the skip features of that resolution."""

    def __init__(self, in_channels: int, out_channels: int, depth: int = 2) -> None:
        super().__init__()
        self.up = ShuffleUp(in_channels, out_channels, 2)
        self.block = ConvBlock(out_channels, out_channels, depth)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """(n, in, y, x) and (n, out, 2y, 2x) → (n, out, 2y, 2x)."""
        return self.block(self.up(x) + skip)
