"""Processes that train one network together: each takes its share of every batch.

The loss is that of the whole batch, whatever the number of processes: Dice and balanced classes
are no means over samples, so every process gathers the others' logits and computes the loss of
all. Its gradient flows through its own logits alone; the sum over the processes, which is what
DDP's mean times their number is, is the gradient of the whole batch. Batch norm takes its
statistics over all processes. A run therefore ends in the same weights, but for rounding, on any
number of devices.
"""

from __future__ import annotations

import os
from datetime import timedelta

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor, distributed, nn

from emsam.params import Params
from emsam.train.slots import require_shares
from emsam.train.synced_norm import sync_batch_norms

_TIMEOUT = timedelta(hours=2)
"""The others wait so long for the first one's validation and checkpoint; the launcher's limit on
the heartbeat is what notices a team that hangs."""


def open_fabric(params: Params, device: int | None = None) -> Fabric:
    """Fabric of this process: alone, on the GPU ``device`` if there is one, or one of a team.

    In a team the variables of torchrun say who this process is.
    """
    budget = params.train
    if not in_team():
        devices = 1 if device is None else [device]
        return Fabric(accelerator=budget.accelerator, devices=devices, precision=budget.precision)
    local, world = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
    strategy = DDPStrategy(
        timeout=_TIMEOUT,
        broadcast_buffers=False,  # synced statistics are the same everywhere
        find_unused_parameters=params.model.name == "published",  # its last two blocks
    )
    fabric = Fabric(
        accelerator=budget.accelerator, devices=local, num_nodes=world // local,
        precision=budget.precision, strategy=strategy,
    )  # fmt: skip
    fabric.launch()
    return fabric


def in_team() -> bool:
    """Whether torchrun started this process."""
    return distributed.is_available() and distributed.is_torchelastic_launched()


class Team:
    """What a process needs to know of the others; alone, all of it costs nothing."""

    def __init__(self, fabric: Fabric) -> None:
        self.size, self.rank = fabric.world_size, fabric.global_rank
        self._device = fabric.device

    @property
    def leads(self) -> bool:
        """Whether this process writes what is written."""
        return self.rank == 0

    def join(self, model: nn.Module) -> nn.Module:
        """``model`` with batch norms that see the whole batch."""
        return model if self.size == 1 else sync_batch_norms(model, self._device)

    def share(self, batch_size: int) -> slice:
        """The samples of a batch that are this process's."""
        require_shares(batch_size, self.size)
        own = batch_size // self.size
        return slice(self.rank * own, (self.rank + 1) * own)

    def gather(self, own: Tensor) -> Tensor:
        """(n, …) of every process, one behind the other; only ``own`` has a gradient."""
        if self.size == 1:
            return own
        parts = [torch.empty_like(own) for _ in range(self.size)]
        distributed.all_gather(parts, own.detach())
        parts[self.rank] = own
        return torch.cat(parts)

    def agree(self, stop: bool, seconds: float) -> tuple[bool, float]:
        """Whether anybody was asked to stop, and the first one's time."""
        if self.size == 1:
            return stop, seconds
        said = torch.tensor(
            [float(stop), seconds if self.leads else 0.0], dtype=torch.float64, device=self._device
        )
        distributed.all_reduce(said)
        return bool(said[0] > 0), float(said[1])

    def meet(self) -> None:
        """Wait until all are here, in the store of torchrun's agent, which outlives them.

        Whoever leaves after that leaves nobody in a collective. The group is not destroyed, see
        :func:`emsam.train.ranks.leave`.
        """
        if self.size == 1:
            return
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = distributed.TCPStore(  # type: ignore[attr-defined]
            address, port, is_master=False, timeout=_TIMEOUT
        )
        if store.add("emsam/here", 1) == self.size:
            store.set("emsam/all", "")
        store.wait(["emsam/all"])
