"""How well EM-SAM segments real EM slices, beside a peer that trains as long at the same time.

Ingests each set with the split of its README, trains both on it, and scores the validation
slices::

    python benchmarks/quality.py --shared ../shared/data --data epfl6_hippocampus --task neurites
    python benchmarks/quality.py --peer torch-em --peer-python ../peer/bin/python

Ours is ``model.name: emsam``, the peer ``unet`` or torch-em's U-Net (``_torch_em.py``, in an
environment of its own: ``_torch_em.txt``). Each has half of the cores and the minutes of
``params/cpu.yaml``: what disturbs one disturbs the other. A row is a metric, its difference
paired over slices with a block-bootstrap interval. Where a set has 3D labels, the stack is linked
and scored in 3D, too. ``SET-TASK.png`` has the learning curves. Folder: ``--work``, by default
``.emsam/benchmarks/quality``.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from _table import Row, options, ratio, show
from scipy.ndimage import uniform_filter1d

from emsam.metrics.block_bootstrap import block_bootstrap_interval
from emsam.metrics.paired_block_bootstrap import paired_block_bootstrap_interval
from emsam.metrics.score_slice import PRIMARY, score_slice
from emsam.params import TASKS, Task, load_params
from emsam.train.run_directory import RunDirectory

ROOT = Path(__file__).parents[1]
PARAMS = ROOT / "params" / "cpu.yaml"
BySlice = dict[int, float]


@dataclass(frozen=True)
class Source:
    """A set of the shared data.

    Attributes
    ----------
    voxel
        z, y, x in nm.
    train, val
        First and last slice.
    labels
        The file of each task.
    stack
        The file of 3D neurite ids, if their validation slices can be scored in 3D.
    changes
        Overrides that the set cannot do without.
    """

    voxel: str
    train: tuple[int, int]
    val: tuple[int, int]
    labels: dict[Task, str]
    stack: str | None = None
    changes: tuple[str, ...] = ()


SOURCES = {
    "epfl6_hippocampus": Source(
        "5,5,5", (0, 45), (46, 62), {"neurites": "labels.tif", "mitochondria": "mito.tif"}
    ),
    "isbi2012_vnc": Source(
        "50,4,4", (0, 17), (19, 23), {"neurites": "labels.tif"}, stack="labels_3d.tif"
    ),
    "fib25_medulla": Source(
        "10,10,10", (0, 179), (200, 249), {"neurites": "labels.tif"}, stack="labels_3d.tif",
        changes=("train.patch=240", "segment.tile=240"),  # slices are 250² pixels
    ),
    "vnc_stack1": Source(
        "50,4.6,4.6", (0, 6), (8, 9), {"neurites": "labels.tif", "mitochondria": "mito.tif"}
    ),
    "cdeep3m_sbem_mito": Source(
        "1,1,1", (0, 13), (16, 19), {"mitochondria": "mito.tif"}  # voxel size not stated
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Result:
    """What one competitor reached: metric → slice → score, and what it took."""

    scores: dict[str, BySlice]
    steps: int
    seconds: float
    run: Path | None = None
    stack: dict[str, float] = field(default_factory=dict)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--shared", type=Path, default=ROOT / ".." / "shared" / "data")
    parser.add_argument("--work", type=Path, default=ROOT / ".emsam" / "benchmarks" / "quality")
    parser.add_argument("--data", action="append", choices=SOURCES, help="repeatable; all")
    parser.add_argument("--task", action="append", choices=TASKS, help="repeatable; all")
    parser.add_argument("--peer", default="unet", choices=["unet", "torch-em"])
    parser.add_argument("--peer-python", default="python", help="where torch-em is installed")
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
    ingest(name, arguments)
    peer_job = run_torch_em if arguments.peer == "torch-em" else run_unet
    with ThreadPoolExecutor() as pool:
        jobs = [pool.submit(job, name, task, arguments) for job in (run_emsam, peer_job)]
        ours, peer = (job.result() for job in jobs)
    draw_curves(arguments.work / f"{name}-{task}.png", PRIMARY[task], {"emsam": ours, "peer": peer})
    rows = []
    for metric in ours.scores:
        (mean, *interval), (theirs, *their_interval) = map(
            interval_of, (ours.scores[metric], peer.scores[metric])
        )
        rows.append(
            {
                "name": f"{name} {task} {metric}"
                + (" (primary)" if metric == PRIMARY[task] else ""),
                "ours": mean, "peer": theirs, "ratio": ratio(mean, theirs), "unit": metric,
                "difference": paired_block_bootstrap_interval(
                    ours.scores[metric], peer.scores[metric]
                ),
                "ours_interval": interval, "peer_interval": their_interval,
                "ours_steps": ours.steps, "peer_steps": peer.steps,
                "ours_seconds": ours.seconds, "peer_seconds": peer.seconds,
            }
        )  # fmt: skip
    return rows + [
        {
            "name": f"{name} {task} {metric}", "ours": value, "peer": peer.stack[metric],
            "ratio": ratio(value, peer.stack[metric]), "unit": metric,
            "difference": [value - peer.stack[metric], math.nan, math.nan],
        }
        for metric, value in ours.stack.items() if metric in peer.stack
    ]  # fmt: skip


def interval_of(scores: BySlice) -> tuple[float, float, float]:
    return block_bootstrap_interval(list(scores.values()), list(scores))


def ingest(name: str, arguments: argparse.Namespace) -> None:
    """Make the volume; nothing happens where it is already."""
    source, folder = SOURCES[name], arguments.shared / name
    labels = [
        part
        for task, file in source.labels.items()
        for part in ("--labels", f"{task}={folder / file}")
    ]
    split = ",".join(f"{part}={a}-{b}" for part, (a, b) in spans(source).items())
    emsam(
        arguments, "data", "ingest", name, "--image", folder / "image.tif", *labels,
        "--voxel-size", source.voxel, "--split", split,
    )  # fmt: skip


def spans(source: Source) -> dict[str, tuple[int, int]]:
    return {"train": source.train, "val": source.val}


def run_emsam(name: str, task: Task, arguments: argparse.Namespace, model: str = "emsam") -> Result:
    """Train one of our networks and score it on the validation slices."""
    source = SOURCES[name]
    run = arguments.work / "runs" / f"{name}-{task}-{model}"
    changes = [f"model.name={model}", *source.changes, *arguments.set]
    overrides = [part for item in changes for part in ("--set", item)]
    status = emsam(
        arguments, "train", "--data", name, "--task", task, "--run", run, "--params", PARAMS,
        *overrides,
    )  # fmt: skip
    emsam(arguments, "evaluate", run, "--data", name, "--split", "val")
    return Result(
        by_slice(run), status["step"], status["seconds"], run, score_stack(name, run, arguments)
    )


def run_unet(name: str, task: Task, arguments: argparse.Namespace) -> Result:
    return run_emsam(name, task, arguments, "unet")


def by_slice(run: Path) -> dict[str, BySlice]:
    """Scores of a run that was evaluated once; NaN where a slice has none."""
    (entry,) = json.loads((run / "scores.json").read_text())["sets"]
    scores: dict[str, BySlice] = {}
    for row in entry["rows"]:
        value = math.nan if row["value"] is None else row["value"]
        scores.setdefault(row["metric"], {})[row["z"]] = value
    return scores


def score_stack(name: str, run: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """Scores in 3D of the linked validation slices; nothing where a set has no 3D labels."""
    source, folder = SOURCES[name], arguments.shared / name
    if source.stack is None:
        return {}
    first, last = source.val
    image, truth, ids = (run / f"stack-{part}.tif" for part in ("image", "truth", "ids"))
    for origin, copy in (("image.tif", image), (source.stack, truth)):
        tifffile.imwrite(copy, tifffile.imread(folder / origin)[first : last + 1])
    emsam(arguments, "segment", image, "--model", run, "--out", ids, "--link", "3d", "--overwrite")
    found = emsam(
        arguments, "score", "--truth", truth, "--pred", ids, "--task", "neurites", "--dims", "3d",
        "--voxel-size", source.voxel,
    )  # fmt: skip
    return {each["metric"]: each["mean"] for each in found["means"]}


def run_torch_em(name: str, task: Task, arguments: argparse.Namespace) -> Result:
    """Train torch-em's U-Net on the same slices; its objects are scored by our metrics."""
    source, folder = SOURCES[name], arguments.shared / name
    params = load_params(PARAMS, [*source.changes, *arguments.set])
    out = arguments.work / f"{name}-{task}-torch-em.npy"
    command = [
        arguments.peer_python, ROOT / "benchmarks" / "_torch_em.py",
        "--image", folder / "image.tif", "--labels", folder / source.labels[task],
        "--train", "{}-{}".format(*source.train), "--predict", "{}-{}".format(*source.val),
        "--minutes", params.train.minutes, "--patch", params.train.patch,
        "--batch", params.train.batch_size, "--seed", params.seed, "--task", task, "--out", out,
    ]  # fmt: skip
    status = run_json(list(map(str, command)), arguments)
    first, last = source.val
    truth = tifffile.imread(folder / source.labels[task])[first : last + 1]
    scores: dict[str, BySlice] = {}
    for z, (true, predicted) in enumerate(zip(truth, np.load(out), strict=True), first):
        for metric, value in score_slice(true, predicted, task).items():
            scores.setdefault(metric, {})[z] = value
    return Result(scores, status["steps"], status["seconds"])


def draw_curves(path: Path, metric: str, results: dict[str, Result]) -> None:
    """Loss and validation score of our own networks over minutes of training."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for name, result in results.items():
        if result.run is None:
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


def emsam(arguments: argparse.Namespace, *command: str | Path) -> dict[str, Any]:
    """What an ``emsam`` command prints as JSON."""
    return run_json([sys.executable, "-m", "emsam.cli", *map(str, command), "--json"], arguments)


def run_json(command: list[str], arguments: argparse.Namespace) -> dict[str, Any]:
    """Run a command with half of the cores and read the JSON document that it prints."""
    environment = {
        "EMSAM_DATA_ROOT": str(arguments.work / "data"),
        "OMP_NUM_THREADS": str(max(1, len(os.sched_getaffinity(0)) // 2)),
    }
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, stdout=subprocess.PIPE, text=True,
        check=True,
    )  # fmt: skip
    document: dict[str, Any] = json.loads(done.stdout)
    return document


if __name__ == "__main__":
    main()
