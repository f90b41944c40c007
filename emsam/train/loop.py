"""The training loop, from top to bottom."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file
from torch import Tensor, nn

from emsam.ahead import ahead
from emsam.data.patches import PatchSampler
from emsam.data.store import Volume
from emsam.metrics.variants import PRIMARY
from emsam.model.build import build_model
from emsam.model.lora import adapters, load_merged_state, merged_state
from emsam.model.weights import load_encoder_weights
from emsam.params import Params, TrainParams
from emsam.segment.evaluate import evaluate_slices, summarize
from emsam.train.augment.augmenter import Augmenter
from emsam.train.checkpoints import Score, read_trainer
from emsam.train.features import FeatureCache, feature_key
from emsam.train.losses import segmentation_loss
from emsam.train.modes import choose_what_learns, parameter_groups
from emsam.train.progress import Clock, Progress
from emsam.train.resources import ResourceMeter
from emsam.train.run_directory import DONE, STOPPED, RunDirectory
from emsam.train.stop import StopRequest
from emsam.train.targets import make_targets
from emsam.train.team import Team, open_fabric

_Batch = tuple[Tensor, Tensor, "np.ndarray | None"]
"""Images of a process's own samples (n, y, x), ids of all (n, y, x), own cached features."""


def train(run: RunDirectory, stop: StopRequest | None = None, *, device: int | None = None) -> str:
    """Carry the job in ``run`` to its end, or until ``stop`` is asked for.

    The newest whole checkpoint is continued: the patches of a step depend on (seed, step) alone,
    so on a CPU the curve equals that of a run that was never stopped. Where torchrun started
    several processes, each takes its share of every batch (:mod:`emsam.train.team`).

    Parameters
    ----------
    device
        Index of the GPU, where there are several and this process is alone.

    Returns
    -------
    str
        ``"done"``, or ``"stopped"``: a checkpoint is written and the same call goes on from it.
    """
    params = run.params()
    budget = params.train
    stop = StopRequest() if stop is None else stop  # one that is not asked for is false
    learner, progress = _open(run, params, device)
    team = learner.team
    volume = Volume(Path(run.inputs()["data"][0]["path"]))
    validation = _validation_slices(volume, params) if team.leads else []
    logged = run.mend_metrics() if team.leads else 0
    clock = Clock(run, progress, budget, leads=team.leads)
    meter = ResourceMeter(learner.fabric.device)
    with _batches(run, params, volume, learner, progress.step) as batches:
        while True:
            stopping, progress.seconds = team.agree(bool(stop), progress.seconds)
            if stopping or progress.fraction(budget) >= 1:
                break
            line = _learn(learner, params, progress, batches) | meter.measure()
            finished = progress.fraction(budget) >= 1
            if validation and (finished or progress.step % budget.validate_every == 0):
                line |= _validate(learner.model, volume, params, validation, clock)
            if team.leads and progress.step > logged:
                run.append_metrics(line)
            clock.tick(line)
            score = _score(params, line)
            if finished or progress.step % budget.checkpoint_every == 0 or run.is_best(score):
                _save(run, learner, progress, score)
                clock.beat()
    if stopping and progress.step:
        _save(run, learner, progress)
    state = DONE if progress.fraction(budget) >= 1 else STOPPED
    clock.write(state)
    team.meet()
    return state


@dataclass
class _Learner:
    """What learns, and the processes that share it."""

    fabric: Fabric
    team: Team
    model: nn.Module
    optimizer: torch.optim.Optimizer


def _open(run: RunDirectory, params: Params, device: int | None) -> tuple[_Learner, Progress]:
    """Everything as the newest whole checkpoint left it, or as it is before the first step."""
    torch.manual_seed(params.seed)
    fabric = open_fabric(params, device)
    team = Team(fabric)
    checkpoint = run.newest_checkpoint()
    learner = _Learner(fabric, team, *_setup(fabric, team, run, fresh=checkpoint is None))
    return learner, _resume(checkpoint, learner) if checkpoint else Progress()


def _setup(
    fabric: Fabric, team: Team, run: RunDirectory, *, fresh: bool
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
    model = team.join(model)
    if budget.channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(parameter_groups(model, budget), fused=True)
    if budget.compile:
        model.compile()
    wrapped, wrapped_optimizer = fabric.setup(model, optimizer)
    return wrapped, wrapped_optimizer


@contextmanager
def _batches(
    run: RunDirectory, params: Params, volume: Volume, learner: _Learner, first: int
) -> Iterator[Iterator[_Batch]]:
    """What :func:`_read_batch` gives from step ``first`` on; the next is read during a step."""
    size = params.train.batch_size
    sampler = PatchSampler.of_job(volume, params)
    augmenter = Augmenter.of_job(params, learner.fabric.device)
    features = _cached_features(run, params, sampler)
    own = learner.team.share(size)
    read = partial(_read_batch, sampler, augmenter, features, size, own)
    with ahead(read, itertools.count(first)) as batches:
        yield batches


def _cached_features(
    run: RunDirectory, params: Params, sampler: PatchSampler
) -> FeatureCache | None:
    if not params.train.cached_features:
        return None
    inputs = run.inputs()
    key = feature_key(params, inputs["weights"]["sha256"], inputs["data"][0]["digest"])
    return FeatureCache(Path(inputs["features"]["path"]), key, sampler.grid_places())


def _read_batch(
    sampler: PatchSampler,
    augmenter: Augmenter,
    features: FeatureCache | None,
    size: int,
    own: slice,
    step: int,
) -> _Batch:
    """On the device images of a process's own samples and ids of all; own cached features.

    On a GPU this queues work on the default stream, as the training itself does: no batch is
    used before it is ready.
    """
    batch = sampler.batch(step, size)
    images, ids = augmenter(batch, step)
    return images[own], ids, features.read(batch.places[own]) if features else None


def _learn(
    learner: _Learner, params: Params, progress: Progress, batches: Iterator[_Batch]
) -> dict[str, float]:
    """One step, waiting for its batch included; returns its line for ``metrics.jsonl``."""
    began = time.monotonic()
    _set_learning_rates(learner.optimizer, params.train, progress.fraction(params.train))
    loss, norm = _step(learner, params, *next(batches))
    progress.step += 1
    progress.seconds += time.monotonic() - began
    return {
        "step": progress.step,
        "seconds": round(progress.seconds, 3),
        "train/loss": loss,
        "train/gradient_norm": norm,
        "train/learning_rate": learner.optimizer.param_groups[-1]["lr"],
    }


def _step(
    learner: _Learner, params: Params, images: Tensor, ids: Tensor, taps: np.ndarray | None
) -> tuple[float, float]:
    """One update; returns the loss and the norm of the gradient before clipping."""
    fabric, team, model = learner.fabric, learner.team, learner.model
    model.train()
    images = images[:, None]  # (n, 1, y, x)
    layout = torch.channels_last if params.train.channels_last else torch.contiguous_format
    known_features = () if taps is None else (fabric.to_device(torch.from_numpy(taps)).unbind(1),)
    target, known = make_targets(ids, params)
    outputs = model(images.contiguous(memory_format=layout), *known_features)
    logits = [
        team.gather(each.float().contiguous())  # as the targets lie in memory
        for each in (outputs if isinstance(outputs, list) else [outputs])
    ]
    loss = segmentation_loss(logits, target, known, maps=params.maps, params=params.settled_loss)
    learner.optimizer.zero_grad(set_to_none=True)
    fabric.backward(loss * team.size)  # DDP takes the mean over processes
    norm = fabric.clip_gradients(
        model, learner.optimizer, max_norm=params.train.clip, error_if_nonfinite=False
    )
    learner.optimizer.step()
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
    model: nn.Module, volume: Volume, params: Params, slices: list[int], clock: Clock
) -> dict[str, float]:
    """Mean scores on a few validation slices, each seen once."""
    quick = params.segment.model_copy(update={"augmentations": 1})
    quick_params = params.model_copy(update={"segment": quick})
    results = evaluate_slices(model, volume, quick_params, slices, lambda *_: clock.beat())
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


def _score(params: Params, line: dict[str, float]) -> Score | None:
    """The primary metric on validation slices, if it was just measured."""
    metric = PRIMARY[params.task]
    value = line.get(f"val/{metric}")
    return None if value is None or not math.isfinite(value) else Score(metric, value)


def _save(
    run: RunDirectory, learner: _Learner, progress: Progress, score: Score | None = None
) -> None:
    if not learner.team.leads:
        return
    network = _unwrapped(learner.model)
    trainer = {
        "optimizer": learner.optimizer.state_dict(),
        "adapters": adapters(network),
        "scaler": learner.fabric.strategy.precision.state_dict(),
        "step": progress.step,
        "seconds": progress.seconds,
        "torch_rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state_all(),
    }
    keep = run.params().train.keep_checkpoints
    run.save_checkpoint(progress.step, merged_state(network), trainer, keep=keep, score=score)


def _resume(checkpoint: Path, learner: _Learner) -> Progress:
    trainer = read_trainer(checkpoint)
    state = load_file(checkpoint / "model.safetensors")
    load_merged_state(_unwrapped(learner.model), state, trainer["adapters"])
    learner.optimizer.load_state_dict(trainer["optimizer"])
    learner.fabric.strategy.precision.load_state_dict(trainer["scaler"])
    torch.set_rng_state(trainer["torch_rng"])
    if len(trainer.get("cuda_rng", ())) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(trainer["cuda_rng"])
    return Progress(trainer["step"], trainer["seconds"])


def _unwrapped(model: nn.Module) -> nn.Module:
    """The network in Fabric's wrapper."""
    return cast("nn.Module", model.module)
