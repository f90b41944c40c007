"""The baseline that EM-SAM must beat: a small U-Net."""

from __future__ import annotations

from torch import Tensor, nn

from emsam.model.layers import ConvPyramid, UpBlock


class UNet(nn.Module):
    """U-Net with one level for each of ``widths``.

    References
    ----------
    .. [1] Ronneberger et al., U-Net: convolutional networks for biomedical image segmentation,
           MICCAI 2015.
    """

    def __init__(self, widths: tuple[int, ...], out_channels: int) -> None:
        super().__init__()
        self.down = ConvPyramid(widths)
        finer, coarser = widths[:-1], widths[1:]
        self.up = nn.ModuleList(
            UpBlock(deep, skip, skip)
            for deep, skip in reversed(list(zip(coarser, finer, strict=True)))
        )
        self.head = nn.Conv2d(widths[0], out_channels, 1)

    def forward(self, image: Tensor) -> Tensor:
        """(n, 1, y, x) in [0, 1], sides multiples of 16 → logits (n, out_channels, y, x)."""
        *skips, x = self.down(image)
        for up, skip in zip(self.up, reversed(skips), strict=True):
            x = up(x, skip)
        return self.head(x)
