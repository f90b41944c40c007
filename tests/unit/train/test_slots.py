from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from emsam.errors import InputError
from emsam.params import TrainParams
from emsam.train import slots
from emsam.train.slots import hold_slots, require_slots, slot_names
from emsam.train.stop import StopRequest

NAMES = ["cpu-0", "cpu-1", "cpu-2"]


class Asked(StopRequest):
    """Becomes true once somebody has waited ``times`` times."""

    def __init__(self, times: int) -> None:
        self.said: list[str] = []
        self._times = times

    def __call__(self, note: str) -> None:
        self.said.append(note)
        self.asked = len(self.said) >= self._times


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "POLL", 0.0)


def take(stack: ExitStack, folder: Path, count: int, asked: Asked) -> list[str]:
    return stack.enter_context(
        hold_slots(folder, NAMES, count, holder="runs/one", stop=asked, waiting=asked)
    )


def test_each_gets_slots_of_its_own_and_all_or_none(tmp_path: Path) -> None:
    with ExitStack() as stack:
        assert take(stack, tmp_path, 1, Asked(1)) == ["cpu-0"]
        asked = Asked(2)
        assert take(stack, tmp_path, 3, asked) == []
        assert len(asked.said) == 2
        assert asked.said[0].startswith("no free slot: cpu-0 is held by runs/one")
        assert take(stack, tmp_path, 2, Asked(1)) == ["cpu-1", "cpu-2"]
    with ExitStack() as stack:
        assert take(stack, tmp_path, 3, Asked(1)) == NAMES


def test_slots_are_the_gpus_that_can_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert slot_names(TrainParams(accelerator="cpu"), 2) == ["cpu-0", "cpu-1"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert slot_names(TrainParams(), 9) == ["gpu-0", "gpu-1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, 1")
    assert slot_names(TrainParams(), 9) == ["gpu-3", "gpu-1"]
    assert slot_names(TrainParams(accelerator="cpu"), 1) == ["cpu-0"]


def test_more_devices_than_slots_are_refused() -> None:
    require_slots(NAMES, 3)
    with pytest.raises(InputError, match=r"EMSAM_DEVICES = 4: this host has 3 slots \(cpu-0"):
        require_slots(NAMES, 4)
