"""Slots of this host: a file lock for each GPU, or for each job that CPUs may have.

The trainer itself holds the locks. The kernel frees them when it dies, however it dies.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch

from emsam.documents import write_whole
from emsam.errors import InputError
from emsam.locks import try_lock
from emsam.params import TrainParams
from emsam.train.stop import StopRequest

POLL = 0.5
"""Seconds between two looks at slots that are taken."""


def uses_gpu(budget: TrainParams) -> bool:
    """Whether a job trains on a GPU of this host."""
    return budget.accelerator != "cpu" and torch.cuda.is_available()


def slot_names(budget: TrainParams, cpu_slots: int) -> list[str]:
    """Every slot of this host that suits a job: ``gpu-0``, or ``cpu-0`` where it uses no GPU.

    GPUs are named as ``CUDA_VISIBLE_DEVICES`` names them, so that processes that see different
    ones agree.
    """
    if not uses_gpu(budget):
        return [f"cpu-{index}" for index in range(cpu_slots)]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = [name.strip() for name in visible.split(",") if name.strip()]
    return [f"gpu-{name}" for name in names or range(torch.cuda.device_count())]


def require_slots(names: Sequence[str], count: int) -> None:
    """Raise :class:`InputError` where a job wants more slots than there are."""
    if count > len(names):
        raise InputError(
            f"EMSAM_DEVICES = {count}: this host has {len(names)} slots ({', '.join(names)}); "
            "ask for fewer devices, or set EMSAM_CPU_SLOTS for a job on CPUs"
        )


def require_shares(batch_size: int, size: int) -> None:
    """Raise :class:`InputError` where a batch cannot be shared evenly."""
    if batch_size % size:
        raise InputError(
            f"train.batch_size = {batch_size}: cannot be shared by {size} devices; take a multiple "
            f"of {size}, or other EMSAM_DEVICES"
        )


@contextmanager
def hold_slots(
    folder: Path,
    names: Sequence[str],
    count: int,
    *,
    holder: str,
    stop: StopRequest,
    waiting: Callable[[str], None],
) -> Iterator[list[str]]:
    """Hold ``count`` free slots of ``names``, all or none; wait while there are fewer.

    Parameters
    ----------
    folder
        Of the lock files; the same for all who share the devices.
    holder
        Who holds them, for those who wait.
    stop
        Ends the waiting: the context then has no slot.
    waiting
        Called with a sentence again and again while there is no slot.
    """
    folder.mkdir(parents=True, exist_ok=True)
    while not stop:
        with ExitStack() as stack:
            held = _try_slots(folder, names, count, stack)
            if len(held) == count:
                for name in held:
                    note = json.dumps({"holder": holder, "pid": os.getpid()})
                    write_whole(folder / f"{name}.json", note + "\n")
                yield held
                return
        waiting(f"no free slot: {_holders(folder, names)}")
        time.sleep(POLL)
    yield []


def _try_slots(folder: Path, names: Sequence[str], count: int, stack: ExitStack) -> list[str]:
    held: list[str] = []
    for name in names:
        if len(held) < count and stack.enter_context(try_lock(folder / f"{name}.lock")):
            held.append(name)
    return held


def _holders(folder: Path, names: Sequence[str]) -> str:
    known = []
    for name in names:
        try:
            note = json.loads((folder / f"{name}.json").read_text())
            known.append(f"{name} is held by {note['holder']}")
        except (OSError, ValueError, KeyError):
            known.append(f"{name} is held")
    return ", ".join(known)
