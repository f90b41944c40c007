"""How well EM-SAM and its U-Net baseline segment real EM slices after the same training.

Runs the whole pipeline (ingest, publish, train, evaluate, register, promote) for both models and
both tasks on mouse CA1::

    python benchmarks/quality.py --shared ../shared/data

Ours is ``model.name: emsam``, the peer ``unet``, both with the budget of ``params/ca1.yaml`` in
minutes; the unit is the metric on the validation slices 46-62. The difference is paired over
slices, with a block-bootstrap interval. ``curves-TASK.png`` has both learning curves. Folders:
``--work``, by default ``.emsam/benchmarks/quality``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import uniform_filter1d

from emsam.metrics.block_bootstrap import block_bootstrap_interval
from emsam.metrics.score_slice import PRIMARY
from emsam.params import TASKS

ROOT = Path(__file__).parents[1]
DATA = "epfl6_hippocampus"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=ROOT / ".." / "shared" / "data")
    parser.add_argument("--work", type=Path, default=ROOT / ".emsam" / "benchmarks" / "quality")
    parser.add_argument("--task", action="append", choices=TASKS, help="repeatable; all")
    parser.add_argument("--set", action="append", default=[], help="override, repeatable")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    if not (arguments.shared / DATA).is_dir():
        sys.exit(f"{arguments.shared}: no real EM data here; name its folder with --shared")
    rows = [row for task in arguments.task or TASKS for row in compare(task, arguments)]
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        print(
            f"{row['name']:50} emsam {row['ours']:.4f}  unet {row['peer']:.4f}  "
            f"{row['ratio']:.3f}  difference {row['difference'][0]:+.4f} "
            f"({row['difference'][1]:+.4f} to {row['difference'][2]:+.4f})"
        )


def compare(task: str, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """One row for each metric variant of a task, with both intervals."""
    peer, ours = (pipeline(model, task, arguments) for model in ("unet", "emsam"))
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
            "ours_seconds": ours["seconds"],
            "peer_seconds": peer["seconds"],
        }
        for mean in ours["means"]
    ]


def difference(ours: str, peer: str, metric: str) -> tuple[float, float, float]:
    """Mean over slices of ours minus the peer's, and its 95 % block-bootstrap interval."""
    values = []
    for run in (ours, peer):
        (entry,) = json.loads((Path(run) / "scores.json").read_text())["sets"]
        rows = [row for row in entry["rows"] if row["metric"] == metric]
        values.append({row["z"]: row["value"] for row in rows if row["value"] is not None})
    both = sorted(values[0].keys() & values[1].keys())
    return block_bootstrap_interval([values[0][z] - values[1][z] for z in both], both)


def draw_curves(path: Path, metric: str, reports: dict[str, dict[str, Any]]) -> None:
    """Loss and validation score over minutes of training."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for name, report in reports.items():
        lines = (Path(report["run"]) / "metrics.jsonl").read_text().splitlines()
        points = [json.loads(line) for line in lines]
        minutes = np.array([point["seconds"] / 60 for point in points])
        loss = uniform_filter1d([point["train/loss"] for point in points], 21, mode="nearest")
        left.plot(minutes, loss, label=name)
        scored = [i for i, point in enumerate(points) if f"val/{metric}" in point]
        right.plot(minutes[scored], [points[i][f"val/{metric}"] for i in scored], "o-", label=name)
    left.set(xlabel="minutes of training", ylabel="training loss, mean of 21 steps")
    right.set(xlabel="minutes of training", ylabel=f"{metric}, three validation slices")
    left.legend()
    figure.savefig(path, dpi=110)


def pipeline(model: str, task: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Report of ``emsam pipeline``, with the seconds that training took."""
    folder = arguments.shared / DATA
    command = [
        sys.executable, "-m", "emsam.cli", "pipeline", "--data", "ca1", "--task", task,
        "--image", folder / "image.tif", "--labels", f"neurites={folder / 'labels.tif'}",
        "--labels", f"mitochondria={folder / 'mito.tif'}", "--voxel-size", "5,5,5",
        "--split", "train=0-45,val=46-62", "--params", ROOT / "params" / "ca1.yaml",
        "--set", f"model.name={model}", "--json",
    ]  # fmt: skip
    command += [part for item in arguments.set for part in ("--set", item)]
    places = {"HOME": "", "DATA_ROOT": "data", "RUNS_ROOT": "runs"}
    environment = {f"EMSAM_{key}": str(arguments.work / name) for key, name in places.items()}
    done = subprocess.run(
        [str(part) for part in command], env=os.environ | environment, cwd=ROOT,
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    report: dict[str, Any] = json.loads(done.stdout)
    status = json.loads((Path(report["run"]) / "status.json").read_text())
    return report | {"seconds": status["seconds"]}


if __name__ == "__main__":
    main()
