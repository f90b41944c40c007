"""Blocks that the networks share."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ConvBlock(nn.Sequential):
    """3×3 convolutions with batch norm and ReLU; (n, in, y, x) → (n, out, y, x)."""

    def __init__(self, in_channels: int, out_channels: int, depth: int = 2) -> None:
        layers: list[nn.Module] = []
        for channels in (in_channels, *(out_channels for _ in range(depth - 1))):
            layers += [
                nn.Conv2d(channels, out_channels, 3, padding=1, bias=False),
                nn.BatchNorm2d(out_channels),
                nn.ReLU(inplace=True),
            ]
        super().__init__(*layers)


class ConvPyramid(nn.Module):
    """Convolutional features at 1/1, 1/2, 1/4 …, one level for each of ``widths``.

    Parameters
    ----------
    first_depth
        Convolutions at 1/1, where they cost most; the other levels have two.
    """

    def __init__(self, widths: tuple[int, ...], first_depth: int = 2) -> None:
        super().__init__()
        depths = [first_depth] + [2] * (len(widths) - 1)
        self.blocks = nn.ModuleList(
            ConvBlock(*each) for each in zip((1, *widths[:-1]), widths, depths, strict=True)
        )
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

    def __init__(
        self, in_channels: int, skip_channels: int, out_channels: int, depth: int = 2
    ) -> None:
        super().__init__()
        self.up = ShuffleUp(in_channels, out_channels, 2)
        self.block = ConvBlock(out_channels + skip_channels, out_channels, depth)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """(n, in, y, x) and (n, skip, 2y, 2x) → (n, out, 2y, 2x)."""
        return self.block(torch.cat([self.up(x), skip], dim=1))


class ShuffleUp(nn.Module):
    """Features to a finer grid: each pixel spells out ``factor`` × ``factor`` finer ones.

    The same map as a transposed convolution whose kernel is as large as its stride, in half the
    time on a CPU: written for channels-last, so that whole rows of channels are moved.

    Parameters
    ----------
    silent
        Start with zero, so that a network into which it feeds learns without it at first.
    """

    def __init__(
        self, in_channels: int, out_channels: int, factor: int, *, silent: bool = False
    ) -> None:
        super().__init__()
        self.factor = factor
        self.spell = nn.Conv2d(in_channels, out_channels * factor**2, 1)
        if silent:
            for parameter in self.spell.parameters():
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """(n, in, y, x) → (n, out, factor · y, factor · x)."""
        n, _, height, width = x.shape
        k = self.factor
        pixels = self.spell(x).permute(0, 2, 3, 1).unflatten(3, (k, k, -1))  # (n, y, x, k, k, out)
        finer = pixels.transpose(2, 3).reshape(n, height * k, width * k, -1)
        return finer.permute(0, 3, 1, 2)
