"""The training loop, from top to bottom."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file
from torch import Tensor, nn

from emsam.data.patches import PatchSampler
from emsam.data.store import Volume
from emsam.model.build import build_model
from emsam.model.lora import adapters, load_merged_state, merged_state
from emsam.model.weights import load_encoder_weights
from emsam.params import Params, TrainParams
from emsam.segment.evaluate import evaluate_slices, summarize
from emsam.train.augment.augmenter import Augmenter
from emsam.train.features import FeatureCache, feature_key
from emsam.train.losses import segmentation_loss
from emsam.train.modes import choose_what_learns, parameter_groups
from emsam.train.run_directory import DONE, RUNNING, STOPPED, RunDirectory
from emsam.train.targets import make_targets

_T = TypeVar("_T")

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
    sampler = PatchSampler.of_job(volume, params)
    validation = _validation_slices(volume, params)
    checkpoint = run.newest_checkpoint()
    model, optimizer = _setup(fabric, run, fresh=checkpoint is None)
    features = _cached_features(run, sampler)
    augmenter = Augmenter.of_job(params, fabric.device)
    progress = _resume(checkpoint, fabric, model, optimizer) if checkpoint else Progress()
    logged = run.mend_metrics()
    clock = _Clock(run, progress, budget)

    read = partial(_read_batch, sampler, augmenter, features, budget.batch_size)
    with _stop_on_signal() as stop, _prefetch(read, progress.step) as batches:
        while (fraction := progress.fraction(budget)) < 1 and not stop:
            began = time.monotonic()
            _set_learning_rates(optimizer, budget, fraction)
            loss, norm = _step(fabric, model, optimizer, params, *next(batches))
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
                _save(run, fabric, model, optimizer, progress)
    state = DONE if progress.fraction(budget) >= 1 else STOPPED
    clock.write(state)
    return state


def _setup(
    fabric: Fabric, run: RunDirectory, *, fresh: bool
) -> tuple[nn.Module, torch.optim.Optimizer]:
    """Network, with the encoder's first weights where no checkpoint brings all, and optimiser."""
    params = run.params()
    budget = params.train
    model = build_model(params)
    if params.model.weights and (fresh or budget.mode == "lora"):
        weights = run.inputs()["weights"]  # a checkpoint has all but what LoRA adds to
        vit = model.get_submodule("encoder.vit")
        load_encoder_weights(vit, Path(weights["path"]), weights["path_sha256"])
    choose_what_learns(model, budget)
    if budget.channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(parameter_groups(model, budget), fused=True)
    if budget.compile:
        model.compile()
    wrapped, wrapped_optimizer = fabric.setup(model, optimizer)
    return wrapped, wrapped_optimizer


def _cached_features(run: RunDirectory, sampler: PatchSampler) -> FeatureCache | None:
    params, inputs = run.params(), run.inputs()
    if not params.train.cached_features:
        return None
    key = feature_key(params, inputs["weights"]["sha256"], inputs["data"][0]["digest"])
    return FeatureCache(Path(inputs["features"]["path"]), key, sampler.grid_places())


def _read_batch(
    sampler: PatchSampler,
    augmenter: Augmenter,
    features: FeatureCache | None,
    size: int,
    step: int,
) -> tuple[Tensor, Tensor, np.ndarray | None]:
    """Images and ids on the device, and cached features.

    On a GPU this queues work on the default stream, as the training itself does: no batch is
    used before it is ready.
    """
    batch = sampler.batch(step, size)
    images, ids = augmenter(batch, step)
    return images, ids, features.read(batch.places) if features else None


def _step(
    fabric: Fabric,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    params: Params,
    images: Tensor,
    ids: Tensor,
    taps: np.ndarray | None,
) -> tuple[float, float]:
    """One update; returns the loss and the norm of the gradient before clipping."""
    model.train()
    images = images[:, None]  # (n, 1, y, x)
    layout = torch.channels_last if params.train.channels_last else torch.contiguous_format
    known_features = () if taps is None else (fabric.to_device(torch.from_numpy(taps)).unbind(1),)
    target, known = make_targets(ids, params)
    outputs = model(images.contiguous(memory_format=layout), *known_features)
    logits = [
        each.float().contiguous()  # as the targets lie in memory
        for each in (outputs if isinstance(outputs, list) else [outputs])
    ]
    loss = segmentation_loss(logits, target, known, maps=params.maps, params=params.settled_loss)
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
    """Mean scores on a few validation slices, each seen once."""
    quick = params.segment.model_copy(update={"augmentations": 1})
    results = evaluate_slices(model, volume, params.model_copy(update={"segment": quick}), slices)
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
    fabric: Fabric,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
) -> None:
    network = _unwrapped(model)
    trainer = {
        "optimizer": optimizer.state_dict(),
        "adapters": adapters(network),
        "scaler": fabric.strategy.precision.state_dict(),
        "step": progress.step,
        "seconds": progress.seconds,
        "torch_rng": torch.get_rng_state(),
    }
    keep = run.params().train.keep_checkpoints
    run.save_checkpoint(progress.step, merged_state(network), trainer, keep=keep)


def _resume(
    checkpoint: Path, fabric: Fabric, model: nn.Module, optimizer: torch.optim.Optimizer
) -> Progress:
    trainer = torch.load(checkpoint / "trainer.pt", weights_only=True, map_location="cpu")
    state = load_file(checkpoint / "model.safetensors")
    load_merged_state(_unwrapped(model), state, trainer["adapters"])
    optimizer.load_state_dict(trainer["optimizer"])
    fabric.strategy.precision.load_state_dict(trainer["scaler"])
    torch.set_rng_state(trainer["torch_rng"])
    return Progress(trainer["step"], trainer["seconds"])


def _unwrapped(model: nn.Module) -> nn.Module:
    """The network in Fabric's wrapper."""
    return cast("nn.Module", model.module)


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
def _prefetch(read: Callable[[int], _T], first: int) -> Iterator[Iterator[_T]]:
    """``read`` of steps ``first``, ``first`` + 1 …; the next runs while one is trained on."""
    with ThreadPoolExecutor(1, thread_name_prefix="patches") as pool:

        def batches() -> Iterator[_T]:
            step = first
            ahead = pool.submit(read, step)
            while True:
                step += 1
                now, ahead = ahead, pool.submit(read, step)
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
