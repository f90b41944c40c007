"""Blocks that the networks share."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ConvBlock(nn.Sequential):
    """Two 3×3 convolutions with batch norm and ReLU; (n, in, y, x) → (n, out, y, x)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        layers: list[nn.Module] = []
        for channels in (in_channels, out_channels):
            layers += [
                nn.Conv2d(channels, out_channels, 3, padding=1, bias=False),
                nn.BatchNorm2d(out_channels),
                nn.ReLU(inplace=True),
            ]
        super().__init__(*layers)


class ConvPyramid(nn.Module):
    """Convolutional features at 1/1, 1/2, 1/4 …, one level for each of ``widths``."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        channels = (1, *widths)
        self.blocks = nn.ModuleList(ConvBlock(a, b) for a, b in zip(channels, widths, strict=False))
        self.pool = nn.MaxPool2d(2)

    def forward(self, image: Tensor) -> list[Tensor]:
        """(n, 1, y, x) → [(n, widths[k], y / 2**k, x / 2**k) for each level k]."""
        features = []
        x = image
        for level, block in enumerate(self.blocks):
            x = block(x if level == 0 else self.pool(x))
            features.append(x)
        return features


class UpBlock(nn.Module):
    """Doubles the resolution and merges skip features of that resolution."""

    def __init__(self, in_channels: int, skip_channels: int, out_channels: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2)
        self.block = ConvBlock(out_channels + skip_channels, out_channels)

    def forward(self, x: Tensor, *skips: Tensor) -> Tensor:
        """(n, in, y, x) and skips (n, ·, 2y, 2x) → (n, out, 2y, 2x)."""
        return self.block(torch.cat([self.up(x), *skips], dim=1))


class ShuffleUp(nn.Sequential):
    """Token features to a finer grid: each token spells out its ``factor`` × ``factor`` pixels."""

    def __init__(self, in_channels: int, out_channels: int, factor: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels * factor**2, 1), nn.PixelShuffle(factor)
        )
