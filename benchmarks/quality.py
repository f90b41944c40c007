"""How well EM-SAM and its U-Net baseline segment real EM slices after the same training.

Ingests mouse CA1, then trains and evaluates both models for both tasks::

    python benchmarks/quality.py --shared ../shared/data

Ours is ``model.name: emsam``, the peer ``unet``. The two train at the same time, for the minutes
of ``params/ca1.yaml``, each with half of the cores: what disturbs one disturbs the other. The unit
is the metric on the validation slices 46-62. The difference is paired over
slices, with a block-bootstrap interval. ``curves-TASK.png`` has both learning curves. Folders:
``--work``, by default ``.emsam/benchmarks/quality``.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from _table import Row, options, show
from scipy.ndimage import uniform_filter1d

from emsam.metrics.paired_block_bootstrap import paired_block_bootstrap_interval
from emsam.metrics.score_slice import PRIMARY
from emsam.params import TASKS

ROOT = Path(__file__).parents[1]
DATA = "epfl6_hippocampus"


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--shared", type=Path, default=ROOT / ".." / "shared" / "data")
    parser.add_argument("--work", type=Path, default=ROOT / ".emsam" / "benchmarks" / "quality")
    parser.add_argument("--task", action="append", choices=TASKS, help="repeatable; all")
    parser.add_argument("--set", action="append", default=[], help="override, repeatable")
    arguments = parser.parse_args()
    if not (arguments.shared / DATA).is_dir():
        sys.exit(f"{arguments.shared}: no real EM data here; name its folder with --shared")
    ingest(arguments)
    rows = [row for task in arguments.task or TASKS for row in compare(task, arguments)]
    show(rows, arguments.json, line)


def line(row: Row) -> str:
    return (
        f"{row['name']:50} emsam {row['ours']:.4f}  unet {row['peer']:.4f}  "
        f"{row['ratio']:.3f}  difference {row['difference'][0]:+.4f} "
        f"({row['difference'][1]:+.4f} to {row['difference'][2]:+.4f})"
    )


def compare(task: str, arguments: argparse.Namespace) -> list[Row]:
    """One row for each metric variant of a task, with both intervals."""
    with ThreadPoolExecutor() as pool:
        peer, ours = pool.map(partial(train, task=task, arguments=arguments), ("unet", "emsam"))
    theirs = {mean["metric"]: mean for mean in peer["means"]}
    draw_curves(arguments.work / f"curves-{task}.png", PRIMARY[task], {"emsam": ours, "unet": peer})
    return [
        {
            "name": f"{DATA} {task} {mean['metric']}"
            + (" (primary)" if mean["metric"] == PRIMARY[task] else ""),  # type: ignore[index]
            "ours": mean["mean"],
            "peer": theirs[mean["metric"]]["mean"],
            "ratio": mean["mean"] / theirs[mean["metric"]]["mean"],
            "unit": mean["metric"],
            "difference": difference(ours["run"], peer["run"], mean["metric"]),
            "ours_interval": [mean["low"], mean["high"]],
            "peer_interval": [theirs[mean["metric"]]["low"], theirs[mean["metric"]]["high"]],
            **{f"ours_{key}": ours[key] for key in ("steps", "seconds")},
            **{f"peer_{key}": peer[key] for key in ("steps", "seconds")},
        }
        for mean in ours["means"]
    ]


def difference(ours: Path, peer: Path, metric: str) -> tuple[float, float, float]:
    """Mean over slices of ours minus the peer's, and its 95 % block-bootstrap interval."""
    return paired_block_bootstrap_interval(*(by_slice(run, metric) for run in (ours, peer)))


def by_slice(run: Path, metric: str) -> dict[int, float]:
    """Score of each slice of a run that was evaluated once; NaN where it has none."""
    (entry,) = json.loads((run / "scores.json").read_text())["sets"]
    rows = [row for row in entry["rows"] if row["metric"] == metric]
    return {row["z"]: math.nan if row["value"] is None else row["value"] for row in rows}


def draw_curves(path: Path, metric: str, reports: dict[str, dict[str, Any]]) -> None:
    """Loss and validation score over minutes of training."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for name, report in reports.items():
        lines = (report["run"] / "metrics.jsonl").read_text().splitlines()
        points = [json.loads(line) for line in lines]
        minutes = np.array([point["seconds"] / 60 for point in points])
        loss = uniform_filter1d([point["train/loss"] for point in points], 21, mode="nearest")
        left.plot(minutes, loss, label=name)
        scored = [i for i, point in enumerate(points) if f"val/{metric}" in point]
        right.plot(minutes[scored], [points[i][f"val/{metric}"] for i in scored], "o-", label=name)
    left.set(xlabel="minutes of training", ylabel="training loss, mean of 21 steps")
    right.set(xlabel="minutes of training", ylabel=f"{metric}, validation")
    left.legend()
    figure.savefig(path, dpi=110)


def ingest(arguments: argparse.Namespace) -> None:
    """Make the volume; nothing happens where it is already."""
    folder = arguments.shared / DATA
    emsam(
        arguments, "data", "ingest", "ca1", "--image", folder / "image.tif",
        "--labels", f"neurites={folder / 'labels.tif'}",
        "--labels", f"mitochondria={folder / 'mito.tif'}", "--voxel-size", "5,5,5",
        "--split", "train=0-45,val=46-62",
    )  # fmt: skip


def train(model: str, task: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Means on the validation slices, run directory and seconds of training."""
    run = arguments.work / "runs" / f"{task}-{model}"
    changes = [f"model.name={model}", *arguments.set]
    overrides = [part for item in changes for part in ("--set", item)]
    status = emsam(
        arguments, "train", "--data", "ca1", "--task", task, "--run", run,
        "--params", ROOT / "params" / "ca1.yaml", *overrides,
    )  # fmt: skip
    scores = emsam(arguments, "evaluate", run, "--data", "ca1", "--split", "val")
    return scores | {"run": run, "seconds": status["seconds"], "steps": status["step"]}


def emsam(arguments: argparse.Namespace, *command: str | Path) -> dict[str, Any]:
    """What an ``emsam`` command with half of the cores prints as JSON."""
    environment = {
        "EMSAM_DATA_ROOT": str(arguments.work / "data"),
        "OMP_NUM_THREADS": str(max(1, len(os.sched_getaffinity(0)) // 2)),
    }
    done = subprocess.run(
        [sys.executable, "-m", "emsam.cli", *map(str, command), "--json"], cwd=ROOT,
        env=os.environ | environment, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    document: dict[str, Any] = json.loads(done.stdout)
    return document


if __name__ == "__main__":
    main()
