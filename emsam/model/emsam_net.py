"""EM-SAM: SAM's encoder with a slim U-shaped decoder."""

from __future__ import annotations

from torch import Tensor, nn

from emsam.model.encoder import SamEncoder
from emsam.model.layers import ConvPyramid, ShuffleUp, UpBlock
from emsam.model.sam_network import SamNetwork


class EmSam(SamNetwork):
    """U-shaped network whose deep half is SAM's image encoder.

    Four taps of the encoder, all at 1/16, enter the decoder at 1/16, 1/8, 1/4 and 1/2. What is
    finer than a token comes from a convolutional stem on the raw image, slim at 1/1. The finer
    taps are added to its features through projections that start at zero: at first this is a
    U-Net with the encoder below it, and it takes from the encoder what helps.

    Parameters
    ----------
    encoder
        It is tapped after its blocks with global attention.
    widths
        Channels of stem and decoder at 1/1, 1/2, 1/4, 1/8.
    out_channels
        Foreground and affinities.

    References
    ----------
    .. [1] EM-SAM, Optics and Precision Engineering 32(18), 2024,
           doi 10.37188/OPE.20243218.2836.
    .. [2] Hatamizadeh et al., UNETR: transformers for 3D medical image segmentation, WACV 2022.
    """

    def __init__(self, encoder: SamEncoder, widths: tuple[int, ...], out_channels: int) -> None:
        super().__init__()
        w0, w1, w2, w3 = widths
        tap = encoder.config.width
        self.encoder = encoder
        self.taps = encoder.config.global_blocks
        self.stem = ConvPyramid(widths, first_depth=1)
        self.tap16 = nn.Conv2d(tap, w3, 1)
        self.tap8 = ShuffleUp(tap, w3, 2, silent=True)
        self.tap4 = ShuffleUp(tap, w2, 4, silent=True)
        self.tap2 = ShuffleUp(tap, w1, 8, silent=True)
        self.up8 = UpBlock(w3, w3, w3)
        self.up4 = UpBlock(w3, w2, w2)
        self.up2 = UpBlock(w2, w1, w1)
        self.up1 = UpBlock(w1, w0, w0, depth=1)
        self.head = nn.Conv2d(w0, out_channels, 1)

    def decode(self, image: Tensor, taps: list[Tensor]) -> Tensor:
        """An image (n, 1, y, x) and its features → logits (n, out_channels, y, x)."""
        tap2, tap4, tap8, tap16 = taps  # each (n, width, y/16, x/16)
        full, half, quarter, eighth = self.stem(image)
        x = self.tap16(tap16)  # (n, w3, y/16, x/16)
        x = self.up8(x, eighth + self.tap8(tap8))  # (n, w3, y/8, x/8)
        x = self.up4(x, quarter + self.tap4(tap4))  # (n, w2, y/4, x/4)
        x = self.up2(x, half + self.tap2(tap2))  # (n, w1, y/2, x/2)
        x = self.up1(x, full)  # (n, w0, y, x)
        return self.head(x)
