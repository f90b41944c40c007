"""What the networks with SAM's encoder have in common."""

from __future__ import annotations

from torch import Tensor, nn

from emsam.model.encoder import SamEncoder


class SamNetwork(nn.Module):
    """SAM's image encoder, tapped at four blocks, and a decoder that a subclass brings.

    Attributes
    ----------
    taps
        Blocks of the encoder whose features the decoder takes, ascending.
    """

    encoder: SamEncoder
    taps: tuple[int, ...]

    def encode(self, image: Tensor) -> list[Tensor]:
        """(n, 1, y, x) in [0, 1], sides multiples of 16 → (n, width, y/16, x/16) for each tap."""
        return self.encoder.forward_intermediates(image, self.taps)

    def decode(self, image: Tensor, taps: list[Tensor]) -> Tensor | list[Tensor]:
        """An image and its encoder features → logits (n, c, y, x), or several in training."""
        raise NotImplementedError

    def forward(self, image: Tensor, taps: list[Tensor] | None = None) -> Tensor | list[Tensor]:
        """(n, 1, y, x) → what :meth:`decode` gives; ``taps`` where they are known already."""
        return self.decode(image, self.encode(image) if taps is None else taps)
