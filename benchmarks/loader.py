"""Patches a second that sampler and augmentation give, beside those that training takes.

Sampler and augmentation read a synthetic volume in one thread, as the thread beside training does;
training is a run of ``vit_t`` with its decoder, augmentation and all::

    OMP_NUM_THREADS=1 python benchmarks/loader.py
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import torch
from _table import Row, options, show

from emsam.data.patches import PatchSampler
from emsam.data.store import Volume
from emsam.data.synthetic import synthesize_volume
from emsam.params import AugmentParams, Params, load_params
from emsam.settings import Settings
from emsam.train.augment.augmenter import Augmenter
from emsam.train.loop import train
from emsam.train.prepare import prepare_run

_WARM_UP = 2


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--patch", type=int, default=256, help="side in pixels")
    parser.add_argument("--batch", type=int, default=2, help="patches of a step")
    parser.add_argument("--steps", type=int, default=100, help="batches that are read")
    parser.add_argument("--train-steps", type=int, default=12, help="batches that are trained on")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--precision", default="32-true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        settings = Settings(home=home, data_root=home / "data", runs_root=home / "runs")
        side = 3 * arguments.patch
        volume = synthesize_volume("demo", settings.volume_path("demo"), shape=(8, side, side))
        rows = compare(arguments, volume, seconds_of_training(arguments, settings))
        costs = {} if arguments.json else cost_of_each(arguments, volume)
    show(rows, arguments.json, line)
    for name, seconds in costs.items():
        print(f"{name:10}{1e3 * seconds:7.2f} ms a patch, if every patch gets it")


def line(row: Row) -> str:
    return (
        f"{row['name']}: {row['ours']:.0f} patches/s, training takes {row['peer']:.1f}: "
        f"{row['ratio']:.1f} times as many"
    )


def compare(arguments: argparse.Namespace, volume: Volume, step: float) -> list[Row]:
    """Default augmentation, every change of every patch, and flips alone."""
    every = {name: {"probability": 1} for name in AugmentParams().beyond_flips}
    choices = {
        "default": AugmentParams(),
        "every change of every patch": AugmentParams.model_validate(every),
        "flips alone": AugmentParams(amount=0),
    }
    peer = arguments.batch / step
    rows = []
    for name, augment in choices.items():
        ours = arguments.batch / statistics.mean(reading_times(arguments, volume, augment))
        rows.append(
            {
                "name": f"loader, {name}, {arguments.batch} of {arguments.patch}², "
                f"{arguments.device}",
                "ours": ours,
                "peer": peer,
                "ratio": ours / peer,
                "unit": "patches/s",
            }
        )
    return rows


def cost_of_each(arguments: argparse.Namespace, volume: Volume) -> dict[str, float]:
    """Seconds a patch of each change alone, beyond those of reading."""
    names = AugmentParams().beyond_flips
    off = dict.fromkeys(names, 0)
    plain = statistics.median(reading_times(arguments, volume, AugmentParams(amount=0)))
    costs = {}
    for name in names:
        augment = AugmentParams.model_validate(off | {name: {"probability": 1}})
        took = statistics.median(reading_times(arguments, volume, augment))
        costs[name] = (took - plain) / arguments.batch
    return costs


def reading_times(
    arguments: argparse.Namespace, volume: Volume, augment: AugmentParams
) -> list[float]:
    """Seconds of each batch."""
    params = job(arguments).model_copy(update={"augment": augment})
    sampler = PatchSampler.of_job(volume, params)
    augmenter = Augmenter.of_job(params, torch.device(arguments.device))
    times = []
    for step in range(arguments.steps + _WARM_UP):
        began = time.perf_counter()
        augmenter(sampler.batch(step, arguments.batch), step)
        if arguments.device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return times[_WARM_UP:]


def seconds_of_training(arguments: argparse.Namespace, settings: Settings) -> float:
    """Median seconds of a step."""
    run = prepare_run(job(arguments), settings)
    train(run)
    lines = list(run.metrics())
    ends = [line["seconds"] for line in lines[_WARM_UP:-1]]  # the last step validates too
    return statistics.median(b - a for a, b in pairwise(ends))


def job(arguments: argparse.Namespace) -> Params:
    return load_params(None, [
        f"train.patch={arguments.patch}", f"train.batch_size={arguments.batch}",
        f"train.steps={arguments.train_steps}", f"train.accelerator={arguments.device}",
        f"train.precision={arguments.precision}", "train.validate_slices=1",
    ])  # fmt: skip


if __name__ == "__main__":
    main()
