"""Batch norm whose statistics are those of the whole batch, however many processes share it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn


def sync_batch_norms(model: nn.Module, device: torch.device) -> nn.Module:
    """``model`` with its batch norms synchronised; parameters and their names stay.

    torch's own needs a GPU; on a CPU :class:`SyncedBatchNorm` computes the same.
    """
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SyncedBatchNorm
    return model


class SyncedBatchNorm(nn.BatchNorm2d):
    """(n, c, y, x) → (n, c, y, x); all processes must have samples of the same number."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        over, size = (0, 2, 3), distributed.get_world_size()
        # in 16 bits the statistics would be too coarse
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        mean = _sum_over_processes(wide.mean(over)) / size
        centred = wide - mean[:, None, None]
        variance = _sum_over_processes(centred.square().mean(over)) / size
        self._remember(mean, variance, count=x.numel() // x.shape[1] * size)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: int) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None  # as torch's default has it
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * count / max(count - 1, 1), self.momentum)


def _sum_over_processes(x: Tensor) -> Tensor:
    return _SumOverProcesses.apply(x)  # type: ignore[no-untyped-call]


class _SumOverProcesses(torch.autograd.Function):
    """The sum is the same everywhere, so the gradient of a part is the sum of all gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _all_reduced(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _all_reduced(gradients[0])


def _all_reduced(x: Tensor) -> Tensor:
    total = x.contiguous().clone()
    distributed.all_reduce(total)
    return total
