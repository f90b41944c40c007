"""Blocks that the networks share."""

from __future__ import annotations

from collections.abc import Sequence

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
    """Convolutional features at 1/1, 1/2, 1/4 … of the input, a level for each of ``widths``.

    Parameters
    ----------
    first_depth
        Convolutions at 1/1, where they cost most; the other levels have two.
    """

    def __init__(self, in_channels: int, widths: tuple[int, ...], first_depth: int = 2) -> None:
        super().__init__()
        depths = [first_depth] + [2] * (len(widths) - 1)
        self.blocks = nn.ModuleList(
            ConvBlock(*each)
            for each in zip((in_channels, *widths[:-1]), widths, depths, strict=True)
        )
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(n, in, y, x) → [(n, widths[k], y / 2**k, x / 2**k) for each level k]."""
        features = []
        for level, block in enumerate(self.blocks):
            x = block(x if level == 0 else self.pool(x))
            features.append(x)
        return features


class ShuffleUp(nn.Module):
    """Features to a finer grid: each pixel spells out ``factor`` × ``factor`` finer ones.

    The same map as a transposed convolution whose kernel is as large as its stride, in half the
    time on a CPU: written for channels-last, so that whole rows of channels are moved.
    """

    def __init__(self, in_channels: int, out_channels: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.spell = nn.Conv2d(in_channels, out_channels * factor**2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, in, y, x) → (n, out, factor · y, factor · x)."""
        n, _, height, width = x.shape
        k = self.factor
        pixels = self.spell(x).permute(0, 2, 3, 1).unflatten(3, (k, k, -1))  # (n, y, x, k, k, out)
        finer = pixels.transpose(2, 3).reshape(n, height * k, width * k, -1)
        return finer.permute(0, 3, 1, 2)


class TapUp(nn.Module):
    """Features of a transformer's block to a finer grid of convolutional features.

    What a block leaves has any scale, so it is normalised first; then it passes a narrow layer,
    without which the spelling of wide tokens would cost a third of the whole decoder.

    Parameters
    ----------
    silent
        Start with zero, so that the network into which it feeds learns without it at first.
    """

    NARROW = 64

    def __init__(
        self, in_channels: int, out_channels: int, factor: int, *, silent: bool = False
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(in_channels)
        self.narrow = nn.Linear(in_channels, self.NARROW)
        self.up = ShuffleUp(self.NARROW, out_channels, factor)
        if silent:
            for parameter in self.up.parameters():
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """(n, in, y, x) → (n, out, factor · y, factor · x)."""
        tokens = self.narrow(self.norm(x.permute(0, 2, 3, 1)))  # (n, y, x, narrow)
        return self.up(tokens.permute(0, 3, 1, 2))


class SideHeads(nn.ModuleList):
    """Logits of coarser features, by which they are supervised in training.

    References
    ----------
    .. [1] Lee et al., Deeply-supervised nets, AISTATS 2015.
    """

    def __init__(self, widths: tuple[int, ...], out_channels: int) -> None:
        super().__init__(nn.Conv2d(width, out_channels, 1) for width in widths)

    def forward(self, logits: Tensor, features: Sequence[Tensor]) -> Tensor | list[Tensor]:
        """Logits; in training a list, those of each of ``features`` behind them."""
        if not self.training or not len(self):
            return logits
        return [logits, *(head(each) for head, each in zip(self, features, strict=True))]
