from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed, nn

from emsam.train import synced_norm
from emsam.train.synced_norm import sync_batch_norms


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    """A team of one."""
    distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1
    )
    yield
    distributed.destroy_process_group()


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU()).double()


def result(model: nn.Module, x: Tensor) -> list[Tensor]:
    """Output, gradients and buffers after a step."""
    y = model(x)
    (y * torch.linspace(0, 1, y.numel()).view_as(y)).sum().backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    return [y.detach(), *(each for each in gradients if each is not None), *model.buffers()]


def test_one_process_has_what_torch_s_batch_norm_gives(group: None) -> None:
    x = torch.rand(4, 1, 9, 8, dtype=torch.float64) * 50 + 100
    synced = sync_batch_norms(network(), torch.device("cpu"))
    assert list(synced.state_dict()) == list(network().state_dict())
    for ours, theirs in zip(result(synced, x), result(network(), x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
    plain = network().eval()
    torch.testing.assert_close(synced.eval()(x).shape, plain(x).shape)


def test_statistics_are_those_of_all(group: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second process with the same samples changes no statistic but the count."""
    x = torch.rand(4, 1, 9, 8, dtype=torch.float64)
    monkeypatch.setattr(synced_norm.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(synced_norm.distributed, "all_reduce", lambda each: each.mul_(2))
    synced = sync_batch_norms(network(), torch.device("cpu"))
    both = network()
    y = synced(x)
    torch.testing.assert_close(y, both(torch.cat([x, x]))[:4], rtol=1e-4, atol=1e-4)
    for ours, theirs in zip(synced.buffers(), both.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
