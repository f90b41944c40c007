"""Random numbers that depend on (seed, step, name of the change) alone."""

from __future__ import annotations

import zlib

import numpy as np
import torch
from torch import Tensor


class Draw:
    """Which samples of a batch get one change, and the numbers that it needs.

    Numbers are drawn on the host, the same for every device, and for every sample of the batch,
    so that what one sample gets does not depend on whether another one is changed. A change has
    numbers of its own: switching one off leaves all others as they were.

    Parameters
    ----------
    key
        Seed and step.
    name
        Of the change.
    count
        Samples in the batch.
    probability
        With which each of them is changed.
    """

    def __init__(
        self,
        key: tuple[int, int],
        name: str,
        *,
        count: int,
        probability: float,
        device: torch.device,
    ) -> None:
        self._rng = np.random.default_rng((*key, zlib.crc32(name.encode())))
        self._count = count
        self._device = device
        self.chosen: list[int] = np.flatnonzero(self._rng.random(count) < probability).tolist()
        """The k samples that are changed."""
        self.index = torch.tensor(self.chosen, dtype=torch.int64, device=device)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """(k, *shape) float32 in [low, high)."""
        return self._send(self._rng.uniform(low, high, (self._count, *shape)))

    def normal(self, *shape: int) -> Tensor:
        """(k, *shape) float32 of mean 0 and deviation 1."""
        return self._send(self._rng.standard_normal((self._count, *shape), dtype=np.float32))

    def generator(self) -> torch.Generator:
        """For noise in every pixel. Fields of noise differ between kinds of device."""
        generator = torch.Generator(self._device)
        return generator.manual_seed(int(self._rng.integers(2**63)))

    def _send(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values[self.chosen].astype(np.float32)).to(self._device)
