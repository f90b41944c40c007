"""A training step of the decoder from cached features, beside one that runs the frozen encoder.

The encoder has random weights; only the time is of interest::

    python benchmarks/features.py --encoder vit_b --patch 256
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from _table import Row, options, show

from emsam.data.synthetic import synthesize_volume
from emsam.model.encoder import ENCODERS, SamEncoder
from emsam.model.weights_cache import locked_cache, store_weights
from emsam.params import Params, load_params
from emsam.settings import Settings
from emsam.train.loop import train
from emsam.train.prepare import prepare_features, prepare_run

SHA256 = "c0ffee" + "0" * 58
"""The name under which the random weights are kept."""


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--encoder", default="vit_b", choices=ENCODERS)
    parser.add_argument("--patch", type=int, default=256, help="side in pixels")
    parser.add_argument("--steps", type=int, default=6, help="of each training")
    parser.add_argument("--rounds", type=int, default=4, help="trainings of each kind, in turns")
    parser.add_argument("--set", action="append", default=[], help="override, repeatable")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        row = compare(arguments, Path(folder))
    show([row], arguments.json, line)


def line(row: Row) -> str:
    return (
        f"{row['name']}: cached {row['ours']:.3f} s, not cached {row['peer']:.3f} s, "
        f"{1 / row['ratio']:.1f} times faster, losses {row['loss_difference']:.1e} apart"
    )


def compare(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Median seconds of a step with and without the cache, after the first two steps of each."""
    settings = Settings(
        home=folder, data_root=folder / "data", runs_root=folder, weights_root=folder / "weights"
    )
    side = 2 * arguments.patch
    synthesize_volume("demo", settings.volume_path("demo"), shape=(8, side, side))
    keep_random_weights(arguments.encoder, settings.weights_root)
    cached, plain = (job(arguments, cached=choice) for choice in (True, False))
    began = time.perf_counter()
    features = prepare_features(cached, settings)
    computing = time.perf_counter() - began
    seconds: dict[bool, list[float]] = {True: [], False: []}
    apart = 0.0
    for number in range(arguments.rounds):
        losses = []
        for kind, params in ((True, cached), (False, plain)):
            steps, curve = train_once(params, settings, f"{number}-{kind}")
            seconds[kind] += steps
            losses.append(curve)
        apart = max(apart, *(abs(a - b) for a, b in zip(*losses, strict=True)))
    ours, peer = (statistics.median(seconds[kind]) for kind in (True, False))
    return {
        "name": f"decoder training step, {arguments.encoder}, {cached.train.batch_size} of "
        f"{arguments.patch}², cpu",
        "ours": ours,
        "peer": peer,
        "ratio": ours / peer,
        "unit": "s",
        "loss_difference": apart,
        "cache_bytes": features["bytes"],
        "cache_seconds": computing,
    }


def keep_random_weights(encoder: str, root: Path) -> None:
    torch.manual_seed(0)
    root.mkdir(parents=True)
    with locked_cache(root):
        state = SamEncoder(ENCODERS[encoder]).vit.state_dict()
        store_weights(state, encoder, SHA256, "random", root)


def job(arguments: argparse.Namespace, *, cached: bool) -> Params:
    return load_params(None, [
        f"model.encoder={arguments.encoder}", f"model.weights={SHA256}", "train.mode=decoder",
        "train.patches=grid", f"train.patch={arguments.patch}", f"train.steps={arguments.steps}",
        f"train.cached_features={str(cached).lower()}", "train.validate_slices=1",
        "augment.flips=false", "augment.amount=0", *arguments.set,
    ])  # fmt: skip


def train_once(params: Params, settings: Settings, name: str) -> tuple[list[float], list[float]]:
    """Seconds of each step after the first two, and the losses."""
    run = prepare_run(params, settings, settings.runs_root / name)
    train(run)
    lines = list(run.metrics())
    ends = [line["seconds"] for line in lines]
    steps = [b - a for a, b in pairwise(ends[1:])]
    return steps, [line["train/loss"] for line in lines]


if __name__ == "__main__":
    main()
