"""The training loop, from top to bottom."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file
from torch import Tensor, nn

from emsam.data.patches import PatchSampler
from emsam.data.store import Volume
from emsam.model.build import build_model
from emsam.params import Params, TrainParams
from emsam.segment.evaluate import evaluate_slices, summarize
from emsam.train.losses import segmentation_loss
from emsam.train.run_directory import DONE, RUNNING, STOPPED, RunDirectory
from emsam.train.targets import make_targets

HEARTBEAT = 1.0
"""Seconds between two writings of ``status.json``."""


@dataclass
class Progress:
    """Where a run stands; ``seconds`` counts the training of earlier processes too."""

    step: int = 0
    seconds: float = 0.0

    def fraction(self, budget: TrainParams) -> float:
        """Used part of the budget, in [0, 1]."""
        parts = []
        if budget.steps is not None:
            parts.append(self.step / budget.steps)
        if budget.minutes is not None:
            parts.append(self.seconds / (60 * budget.minutes))
        return min(1.0, max(parts))


def train(run: RunDirectory) -> str:
    """Carry the job in ``run`` to its end, or to the next signal.

    The newest whole checkpoint is continued: the patches of a step depend on (seed, step) alone,
    so on a CPU the curve equals that of a run that was never stopped.

    Returns
    -------
    str
        ``"done"``, or ``"stopped"`` after SIGTERM or SIGINT: a checkpoint is written and the
        same call goes on from it.
    """
    params = run.params()
    budget = params.train
    torch.manual_seed(params.seed)
    fabric = Fabric(accelerator=budget.accelerator, devices=1, precision=budget.precision)
    volume = Volume(Path(run.inputs()["data"][0]["path"]))
    sampler = PatchSampler(
        volume, params.task, size=budget.patch, seed=params.seed, augment=params.augment
    )
    validation = _validation_slices(volume, params)
    model, optimizer = _setup(fabric, params)
    progress = _resume(run, model, optimizer)
    logged = run.mend_metrics()
    clock = _Clock(run, progress, budget)

    with _stop_on_signal() as stop, _prefetch(sampler, progress.step, budget) as batches:
        while (fraction := progress.fraction(budget)) < 1 and not stop:
            began = time.monotonic()
            _set_learning_rates(optimizer, budget, fraction)
            images, labels = next(batches)
            loss, norm = _step(fabric, model, optimizer, params, images, labels)
            progress.step += 1
            progress.seconds += time.monotonic() - began
            line: dict[str, Any] = {"step": progress.step, "seconds": round(progress.seconds, 3)}
            line |= {"train/loss": loss, "train/gradient_norm": norm}
            line |= {"train/learning_rate": optimizer.param_groups[-1]["lr"]}
            finished = progress.fraction(budget) >= 1
            if validation and (finished or progress.step % budget.validate_every == 0):
                line |= _validate(model, volume, params, validation)
            if progress.step > logged:
                run.append_metrics(line)
            clock.tick(line)
            if finished or stop or progress.step % budget.checkpoint_every == 0:
                _save(run, model, optimizer, progress, budget)
    state = DONE if progress.fraction(budget) >= 1 else STOPPED
    clock.write(state)
    return state


def _setup(fabric: Fabric, params: Params) -> tuple[nn.Module, torch.optim.Optimizer]:
    """Network and optimiser; SAM's encoder learns at a rate of its own."""
    model = build_model(params).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    encoder = {id(p) for name, p in model.named_parameters() if name.startswith("encoder.")}
    budget = params.train
    groups = []
    for in_encoder, rate in ((True, budget.encoder_learning_rate), (False, budget.learning_rate)):
        chosen = [p for p in model.parameters() if (id(p) in encoder) == in_encoder]
        if chosen:
            groups.append({"params": chosen, "lr": rate, "peak": rate})
    optimizer = torch.optim.AdamW(groups, weight_decay=budget.weight_decay)
    wrapped, wrapped_optimizer = fabric.setup(model, optimizer)
    return wrapped, wrapped_optimizer


def _step(
    fabric: Fabric,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    params: Params,
    images: np.ndarray,
    labels: np.ndarray,
) -> tuple[float, float]:
    """One update; returns the loss and the norm of the gradient before clipping."""
    model.train()
    batch = fabric.to_device(torch.from_numpy(images)[:, None])  # (n, 1, y, x)
    ids = fabric.to_device(torch.from_numpy(labels))  # (n, y, x)
    target, known = make_targets(ids, params.targets.offsets)
    logits = model(batch.contiguous(memory_format=torch.channels_last))
    loss = segmentation_loss(logits.float(), target, known, dice_weight=params.train.dice_weight)
    optimizer.zero_grad(set_to_none=True)
    fabric.backward(loss)
    norm = fabric.clip_gradients(
        model, optimizer, max_norm=params.train.clip, error_if_nonfinite=False
    )
    optimizer.step()
    value = loss.item()
    if not math.isfinite(value):
        raise FloatingPointError(
            f"the loss became {value}; lower train.learning_rate (now {params.train.learning_rate})"
        )
    return value, float(norm) if isinstance(norm, Tensor) else 0.0


def _set_learning_rates(
    optimizer: torch.optim.Optimizer, budget: TrainParams, fraction: float
) -> None:
    """Linear warm-up, then half a cosine to zero, over the used part of the budget."""
    if fraction < budget.warmup:
        factor = (fraction + 1e-3) / budget.warmup
    else:
        factor = 0.5 * (1 + math.cos(math.pi * (fraction - budget.warmup) / (1 - budget.warmup)))
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * min(factor, 1.0)


def _validate(
    model: nn.Module, volume: Volume, params: Params, slices: list[int]
) -> dict[str, float]:
    """Mean scores on a few validation slices."""
    results = evaluate_slices(model, volume, params, slices)
    means = summarize([(each.z, each.scores) for each in results], params.evaluate)
    return {f"val/{mean['metric']}": mean["mean"] for mean in means}


def _validation_slices(volume: Volume, params: Params) -> list[int]:
    """A few slices spread evenly over the validation range; none where there is no such range."""
    if "val" not in volume.info.splits:
        return []
    slices = volume.slices("val", params.task)
    count = min(params.train.validate_slices, len(slices))
    return [slices[round(i)] for i in np.linspace(0, len(slices) - 1, count)]


# -- stopping and going on ----------------------------------------------------------------------


def _save(
    run: RunDirectory,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    budget: TrainParams,
) -> None:
    trainer = {
        "optimizer": optimizer.state_dict(),
        "step": progress.step,
        "seconds": progress.seconds,
        "torch_rng": torch.get_rng_state(),
    }
    run.save_checkpoint(progress.step, model.state_dict(), trainer, keep=budget.keep_checkpoints)


def _resume(run: RunDirectory, model: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
    checkpoint = run.newest_checkpoint()
    if checkpoint is None:
        return Progress()
    model.load_state_dict(load_file(checkpoint / "model.safetensors"))
    trainer = torch.load(checkpoint / "trainer.pt", weights_only=True, map_location="cpu")
    optimizer.load_state_dict(trainer["optimizer"])
    torch.set_rng_state(trainer["torch_rng"])
    return Progress(trainer["step"], trainer["seconds"])


class _Stop:
    """Becomes true when the process is asked to stop; the step in hand is finished first."""

    asked = False

    def __bool__(self) -> bool:
        return self.asked


@contextmanager
def _stop_on_signal() -> Iterator[_Stop]:
    stop = _Stop()

    def ask(number: int, frame: FrameType | None) -> None:
        stop.asked = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _prefetch(
    sampler: PatchSampler, first: int, budget: TrainParams
) -> Iterator[Iterator[tuple[np.ndarray, np.ndarray]]]:
    """Batches of steps ``first``, ``first`` + 1 …; the next is read while one is trained on."""
    with ThreadPoolExecutor(1, thread_name_prefix="patches") as pool:

        def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            step = first
            ahead = pool.submit(sampler.batch, step, budget.batch_size)
            while True:
                step += 1
                now, ahead = ahead, pool.submit(sampler.batch, step, budget.batch_size)
                yield now.result()

        yield batches()


class _Clock:
    """Keeps ``status.json`` fresh and prints a line now and then."""

    def __init__(self, run: RunDirectory, progress: Progress, budget: TrainParams) -> None:
        self._run, self._progress, self._budget = run, progress, budget
        self._first_step, self._started = progress.step, time.time()
        self._line: dict[str, Any] = {}
        self._last = 0.0
        self.write(RUNNING)

    def tick(self, line: dict[str, Any]) -> None:
        self._line |= line
        if time.time() - self._last >= HEARTBEAT or len(line) > 5:
            self.write(RUNNING)

    def write(self, state: str) -> None:
        """Write the status and print it."""
        self._last = time.time()
        elapsed = self._last - self._started
        steps = self._progress.step - self._first_step
        self._run.write_status(
            state=state,
            pid=os.getpid(),
            started=self._started,
            step=self._progress.step,
            steps=self._budget.steps,
            fraction=round(self._progress.fraction(self._budget), 4),
            seconds=round(self._progress.seconds, 2),
            steps_per_second=round(steps / elapsed, 3) if elapsed > 0 else 0.0,
            metrics={key: value for key, value in self._line.items() if "/" in key},
        )
        loss = self._line.get("train/loss", float("nan"))
        print(f"{state} step {self._progress.step} loss {loss:.4f}", flush=True)
