"""The baseline that EM-SAM must beat: a small U-Net."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from emsam.model.layers import ConvBlock, ConvPyramid, ShuffleUp, SideHeads


class UNet(nn.Module):
    """U-Net with one level for each of ``widths``; with ``sides``, heads at 1/2 and 1/4.

    References
    ----------
    .. [1] Ronneberger et al., U-Net: convolutional networks for biomedical image segmentation,
           MICCAI 2015.
    """

    def __init__(self, widths: tuple[int, ...], out_channels: int, *, sides: bool) -> None:
        super().__init__()
        self.down = ConvPyramid(1, widths)
        finer, coarser = widths[:-1], widths[1:]
        self.up = nn.ModuleList(
            _Up(deep, skip) for deep, skip in reversed(list(zip(coarser, finer, strict=True)))
        )
        self.head = nn.Conv2d(widths[0], out_channels, 1)
        self.sides = SideHeads(widths[1:-1][:2] if sides else (), out_channels)

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """(n, 1, y, x) in [0, 1], sides multiples of 16 → logits (n, out_channels, y, x)."""
        *skips, x = self.down(image)
        finer = [x]
        for up, skip in zip(self.up, reversed(skips), strict=True):
            finer.insert(0, up(finer[0], skip))
        return self.sides(self.head(finer[0]), finer[1 : 1 + len(self.sides)])


class _Up(nn.Module):
    """Doubles the resolution and joins the skip features of that resolution as more channels."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.up = ShuffleUp(in_channels, out_channels, 2)
        self.block = ConvBlock(2 * out_channels, out_channels)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """(n, in, y, x) and (n, out, 2y, 2x) → (n, out, 2y, 2x)."""
        return self.block(torch.cat([self.up(x), skip], dim=1))
