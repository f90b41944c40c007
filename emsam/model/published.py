"""The published EM-SAM, quirks included, to compare with."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from emsam.model.encoder import SamEncoder
from emsam.model.sam_network import SamNetwork

TAPS = (0, 3, 6, 9)
"""The blocks behind the last one are computed and not used."""


class Published(SamNetwork):
    """SAM's encoder without position embedding, and a UNETR-like decoder.

    Channels at 1/8, 1/4, 1/2 and 1/1 are 512, 256, 128 and 64. Each tap climbs to the resolution
    where it joins by transposed convolutions of its own; the raw image joins at 1/1. At 1024² the
    decoder costs 832 GMAC, where ViT-B costs 484.

    References
    ----------
    .. [1] EM-SAM, Optics and Precision Engineering 32(18), 2024,
           doi 10.37188/OPE.20243218.2836.
    .. [2] Hatamizadeh et al., UNETR: transformers for 3D medical image segmentation, WACV 2022.
    """

    def __init__(self, encoder: SamEncoder, out_channels: int) -> None:
        super().__init__()
        tap = encoder.config.width
        self.encoder = encoder
        self.taps = TAPS
        self.image1 = nn.Sequential(_conv(3, 32), _conv(32, 64))
        self.tap2 = nn.Sequential(_climb(tap, 512), _climb(512, 256), _climb(256, 128))
        self.tap4 = nn.Sequential(_climb(tap, 512), _climb(512, 256))
        self.tap8 = _climb(tap, 512)
        self.up8 = _double(tap, 512)
        self.up4 = nn.Sequential(
            _conv(1024, 512), _conv(512, 512), _conv(512, 512), _double(512, 256)
        )
        self.up2 = nn.Sequential(_conv(512, 256), _conv(256, 256), _double(256, 128))
        self.up1 = nn.Sequential(_conv(256, 128), _conv(128, 128), _double(128, 64))
        self.head = nn.Sequential(_conv(128, 64), _conv(64, 64), nn.Conv2d(64, out_channels, 1))

    def encode(self, image: Tensor) -> list[Tensor]:
        """(n, 1, y, x) in [0, 1] → (n, width, y/16, x/16) for each tap."""
        return self.encoder.forward_intermediates(image, TAPS, stop_early=False)

    def decode(self, image: Tensor, taps: list[Tensor]) -> Tensor:
        """An image (n, 1, y, x) and its features → logits (n, out_channels, y, x)."""
        first, second, third, x = taps  # each (n, width, y/16, x/16)
        x = self.up8(x)  # (n, 512, y/8, x/8)
        x = self.up4(torch.cat([self.tap8(third), x], dim=1))  # (n, 256, y/4, x/4)
        x = self.up2(torch.cat([self.tap4(second), x], dim=1))  # (n, 128, y/2, x/2)
        x = self.up1(torch.cat([self.tap2(first), x], dim=1))  # (n, 64, y, x)
        return self.head(torch.cat([self.image1(image.expand(-1, 3, -1, -1)), x], dim=1))


def _conv(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def _double(in_channels: int, out_channels: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2)


def _climb(in_channels: int, out_channels: int) -> nn.Sequential:
    """Twice the resolution, then a convolution; (n, in, y, x) → (n, out, 2y, 2x)."""
    return nn.Sequential(_double(in_channels, out_channels), _conv(out_channels, out_channels))
