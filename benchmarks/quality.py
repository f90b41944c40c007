"""How well EM-SAM segments real EM slices, beside a peer that trains as long at the same time.

Ingests each set with the split of its README, trains both on it, and scores the validation
slices::

    python benchmarks/quality.py --shared ../shared/data --data epfl6_hippocampus --task neurites
    python benchmarks/quality.py --data isbi2012_vnc --seeds 3 --set train.minutes=4
    python benchmarks/quality.py --peer torch-em --peer-python ../peer/bin/python

Ours is ``model.name: emsam``, the peer ``unet`` or torch-em's U-Net (``_torch_em.py``, in an
environment of its own: ``_torch_em.txt``). Each has half of the cores. The minutes of
``params/cpu.yaml`` are CPU minutes: the steps that fit in them follow from the CPU time of a step,
measured first, so that other work on the machine changes how long this takes and not what comes
out. Beside torch-em, which counts them so, they are minutes of the clock. A row is a metric, the
mean over seeds, and the difference paired over slices with a block-bootstrap interval. Where a set
has 3D labels, the stack is linked and scored in 3D, too. ``SET-TASK.png`` has the learning curves.
Folder: ``--work``, by default ``.emsam/benchmarks/quality``.
"""

from __future__ import annotations

import argparse
import math
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from _competitors import ROOT, BySlice, Match, Network, Result, TorchEm, ingest
from _sources import SOURCES
from _table import Row, options, ratio, show
from scipy.ndimage import uniform_filter1d

from emsam.metrics.block_bootstrap import block_bootstrap_interval
from emsam.metrics.paired_block_bootstrap import paired_block_bootstrap_interval
from emsam.metrics.variants import PRIMARY
from emsam.params import TASKS, Task
from emsam.train.run_directory import RunDirectory


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--shared", type=Path, default=ROOT / ".." / "shared" / "data")
    parser.add_argument("--work", type=Path, default=ROOT / ".emsam" / "benchmarks" / "quality")
    parser.add_argument("--data", action="append", choices=SOURCES, help="repeatable; all")
    parser.add_argument("--task", action="append", choices=TASKS, help="repeatable; all")
    parser.add_argument("--peer", default="unet", choices=["unet", "torch-em"])
    parser.add_argument("--peer-python", default="python", help="where torch-em is installed")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each")
    parser.add_argument("--set", action="append", default=[], help="override, repeatable")
    arguments = parser.parse_args()
    if not arguments.shared.is_dir():
        sys.exit(f"{arguments.shared}: no real EM data here; name its folder with --shared")
    rows = [
        row
        for name in arguments.data or SOURCES
        for task in SOURCES[name].labels
        if task in (arguments.task or TASKS)
        for row in compare(name, task, arguments)
    ]
    show(rows, arguments.json, line)


def line(row: Row) -> str:
    mean, low, high = row["difference"]
    return (
        f"{row['name']:56} ours {row['ours']:.4f}  peer {row['peer']:.4f}  {row['ratio']:.3f}  "
        f"difference {mean:+.4f} ({low:+.4f} to {high:+.4f})"
    )


def compare(name: str, task: Task, arguments: argparse.Namespace) -> list[Row]:
    """One row for each metric variant of a task."""
    match = Match(name, task, arguments)
    ingest(match)
    ours, peer = Network(match, "emsam"), opponent(match)
    results: list[list[Result]] = [[], []]
    with ThreadPoolExecutor() as pool:
        for seed in range(arguments.seeds):
            jobs = [pool.submit(each, seed) for each in (ours, peer)]
            for job, found in zip(jobs, results, strict=True):
                found.append(job.result())
    draw_curves(arguments.work / f"{name}-{task}.png", PRIMARY[task], results)
    slices = [slice_row(name, task, metric, *results) for metric in results[0][0].scores]
    return slices + [stack_row(name, task, metric, *results) for metric in results[0][0].stack]


def opponent(match: Match) -> Network | TorchEm:
    return TorchEm(match) if match.options.peer == "torch-em" else Network(match, "unet")


def slice_row(name: str, task: Task, metric: str, ours: list[Result], peer: list[Result]) -> Row:
    """Means over seeds, slice by slice, and their paired difference."""
    scores, their_scores = (over_seeds(metric, each) for each in (ours, peer))
    (mean, *interval), (theirs, *their_interval) = map(interval_of, (scores, their_scores))
    return {
        "name": f"{name} {task} {metric}" + (" (primary)" if metric == PRIMARY[task] else ""),
        "ours": mean, "peer": theirs, "ratio": ratio(mean, theirs), "unit": metric,
        "difference": paired_block_bootstrap_interval(scores, their_scores),
        "ours_interval": interval, "peer_interval": their_interval,
        "ours_seeds": [float(np.nanmean(list(each.scores[metric].values()))) for each in ours],
        "peer_seeds": [float(np.nanmean(list(each.scores[metric].values()))) for each in peer],
        "ours_steps": ours[0].steps, "peer_steps": peer[0].steps,
        "ours_seconds": ours[0].seconds, "peer_seconds": peer[0].seconds,
    }  # fmt: skip


def over_seeds(metric: str, results: list[Result]) -> BySlice:
    scores = [each.scores[metric] for each in results]
    return {z: float(np.mean([each[z] for each in scores])) for z in scores[0]}


def stack_row(name: str, task: Task, metric: str, ours: list[Result], peer: list[Result]) -> Row:
    """Means over seeds of a metric in 3D; a stack is one sample, so there is no interval."""
    mean = float(np.mean([each.stack[metric] for each in ours]))
    theirs = float(np.mean([each.stack.get(metric, math.nan) for each in peer]))
    return {
        "name": f"{name} {task} {metric}", "ours": mean, "peer": theirs,
        "ratio": ratio(mean, theirs), "unit": metric,
        "difference": [mean - theirs, math.nan, math.nan],
    }  # fmt: skip


def interval_of(scores: BySlice) -> tuple[float, float, float]:
    return block_bootstrap_interval(list(scores.values()), list(scores))


def draw_curves(path: Path, metric: str, results: list[list[Result]]) -> None:
    """Loss and validation score of our own networks over minutes of training, first seed."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for name, (result, *_) in zip(("emsam", "unet"), results, strict=True):
        if result.run is None:  # torch-em
            continue
        points = list(RunDirectory(result.run).metrics())
        minutes = np.array([point["seconds"] / 60 for point in points])
        loss = uniform_filter1d([point["train/loss"] for point in points], 21, mode="nearest")
        left.plot(minutes, loss, label=name)
        scored = [i for i, point in enumerate(points) if f"val/{metric}" in point]
        right.plot(minutes[scored], [points[i][f"val/{metric}"] for i in scored], "o-", label=name)
    left.set(xlabel="minutes of training", ylabel="training loss, mean of 21 steps")
    right.set(xlabel="minutes of training", ylabel=f"{metric}, validation")
    left.legend()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
