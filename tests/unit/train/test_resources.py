from __future__ import annotations

import mmap

import numpy as np
import pytest
import torch

from emsam.train import resources
from emsam.train.resources import ResourceMeter


def test_memory_of_this_process_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "INTERVAL", 0.0)
    meter = ResourceMeter(torch.device("cpu"))
    before = meter.measure()
    # from the kernel: what numpy asks for may lie in memory that the process has already
    held = np.frombuffer(mmap.mmap(-1, 100_000_000), np.uint8)
    held[:] = 1
    after = meter.measure()
    grown = after["system/process_memory_megabytes"] - before["system/process_memory_megabytes"]
    assert grown == pytest.approx(held.nbytes / 1e6, abs=20)
    assert 0 < after["system/system_memory_usage_percentage"] < 100


def test_nothing_is_measured_at_each_step() -> None:
    assert ResourceMeter(torch.device("cpu")).measure() == {}
