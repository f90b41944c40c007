"""A batch of windows → a batch of augmented patches, decided by (seed, step) alone."""

from __future__ import annotations

import torch
from torch import Tensor

from emsam.data.patches import Batch
from emsam.params import AugmentParams, Params
from emsam.train.augment.draw import Draw
from emsam.train.augment.geometry import MOVES, centred_grid, read_at
from emsam.train.augment.intensity import LOOKS


class Augmenter:
    """Deforms patches and changes their grey values; flips and turns they have already.

    Parameters
    ----------
    size
        Side of a patch in pixels.
    seed
        Of the run.
    device
        On which images are changed and returned.
    """

    def __init__(
        self,
        params: AugmentParams,
        *,
        size: int,
        seed: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self._params = params
        self._size = size
        self._seed = seed
        self._device = torch.device(device)
        self._grid = centred_grid(size, self._device)
        self._on = frozenset(params.beyond_flips)

    @classmethod
    def of_job(cls, params: Params, device: torch.device) -> Augmenter:
        """What the training patches of a job go through."""
        return cls(params.augment, size=params.train.patch, seed=params.seed, device=device)

    def __call__(self, batch: Batch, step: int) -> tuple[Tensor, Tensor]:
        """Images (n, y, x) float32 in [0, 1] and ids (n, y, x) int32 of one step.

        A patch that no deformation was drawn for is cut out to the bit.
        """
        images, ids = self._deform(batch, step)
        for name, look in LOOKS.items():
            if draw := self._draw(name, step, len(images)):
                change = getattr(self._params, name)
                if len(draw.chosen) == len(images):
                    images = look(images, change, draw)
                else:
                    images[draw.index] = look(images[draw.index], change, draw)
        return images.clamp_(0, 1), ids

    def _deform(self, batch: Batch, step: int) -> tuple[Tensor, Tensor]:
        windows = torch.from_numpy(batch.images).to(self._device)
        labels = torch.from_numpy(batch.labels).to(self._device)
        images, ids = (_crop(each, batch, self._size) for each in (windows, labels))
        draws = {name: self._draw(name, step, len(images)) for name in MOVES}
        moved = sorted({sample for draw in draws.values() if draw for sample in draw.chosen})
        if not moved:
            return images, ids
        where = self._grid.expand(len(images), -1, -1, -1).clone()  # (n, 2, y, x)
        for name, move in MOVES.items():
            if draw := draws[name]:
                where[draw.index] = move(where[draw.index], getattr(self._params, name), draw)
        index = torch.tensor(moved, device=self._device)
        centres = torch.from_numpy(batch.corners).to(self._device) + (self._size - 1) / 2
        where = where[index] + centres[index, :, None, None].float()
        images[index], ids[index] = read_at(windows[index], labels[index], where)
        return images, ids

    def _draw(self, name: str, step: int, count: int) -> Draw | None:
        """Random numbers of a change; ``None`` where no sample of the batch gets it."""
        if name not in self._on:
            return None
        probability = self._params.amount * getattr(self._params, name).probability
        draw = Draw(
            (self._seed, step), name, count=count, probability=probability, device=self._device
        )
        return draw if draw.chosen else None


def _crop(windows: Tensor, batch: Batch, size: int) -> Tensor:
    """The patch in each window, copied."""
    corners = batch.corners.tolist()
    return torch.stack(
        [each[y : y + size, x : x + size] for each, (y, x) in zip(windows, corners, strict=True)]
    )
