"""Who competes in ``quality.py``: our two networks, and torch-em's U-Net."""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import tifffile
import torch
from _sources import SOURCES

from emsam.metrics.score_slice import score_slice
from emsam.params import Params, Task, load_params
from emsam.settings import Settings
from emsam.train.loop import train
from emsam.train.prepare import prepare_run

ROOT = Path(__file__).parents[1]
PARAMS = ROOT / "params" / "cpu.yaml"
BySlice = dict[int, float]


@dataclass(frozen=True)
class Result:
    """What one competitor reached: metric → slice → score, and what it took."""

    scores: dict[str, BySlice]
    steps: int
    seconds: float
    run: Path | None = None
    stack: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Match:
    """A set, a task and the options of the command line."""

    name: str
    task: Task
    options: argparse.Namespace

    def params(self, *changes: str) -> Params:
        asked = [f"data.name={self.name}", f"task={self.task}", *SOURCES[self.name].changes]
        return load_params(PARAMS, [*asked, *self.options.set, *changes])


class Network:
    """One of our networks.

    Beside ``unet`` it trains for steps; beside torch-em for minutes of the clock, as that does, and
    takes none of them for validation.
    """

    def __init__(self, match: Match, model: str) -> None:
        self.match, self.model = match, model
        budget = match.params().train
        if match.options.peer == "torch-em":
            self.budget, self.changes = f"{budget.minutes}min", ["train.validate_every=1000000"]
            return
        steps = budget.steps
        if budget.minutes is not None:
            steps = max(1, round(60 * budget.minutes / self.step_seconds()))
        assert steps is not None
        self.budget, self.changes = str(steps), _steps(steps)

    def step_seconds(self, first: int = 10, last: int = 40, repeats: int = 2) -> float:
        """CPU time of a training step, all threads; the least, as other work only adds to it."""
        spent = [self._cpu_seconds(last) - self._cpu_seconds(first) for _ in range(repeats)]
        return min(spent) / (last - first) / cores()

    def _cpu_seconds(self, steps: int) -> float:
        options = self.match.options
        params = self.match.params(f"model.name={self.model}", *_steps(steps))
        torch.set_num_threads(cores())
        with TemporaryDirectory(dir=options.work) as folder:
            run = prepare_run(
                params, Settings(data_root=options.work / "data"), Path(folder) / "run"
            )
            began = time.process_time()
            train(run)
            return time.process_time() - began

    def __call__(self, seed: int) -> Result:
        """Train it and score it on the validation slices."""
        name, task, options = self.match.name, self.match.task, self.match.options
        run = options.work / "runs" / f"{name}-{task}-{self.model}-{self.budget}-seed{seed}"
        changes = [
            f"model.name={self.model}", f"seed={seed}", *SOURCES[name].changes, *options.set,
            *self.changes,
        ]  # fmt: skip
        overrides = [part for item in changes for part in ("--set", item)]
        status = emsam(
            options, "train", "--data", name, "--task", task, "--run", run, "--params", PARAMS,
            *overrides,
        )  # fmt: skip
        emsam(options, "evaluate", run, "--data", name, "--split", "val")
        return Result(
            by_slice(run), status["step"], status["seconds"], run, score_stack(self.match, run)
        )


def _steps(count: int) -> list[str]:
    return ["train.minutes=null", f"train.steps={count}"]


class TorchEm:
    """torch-em's U-Net on the same slices, for the same minutes; its objects are scored by us."""

    def __init__(self, match: Match) -> None:
        self.match = match

    def __call__(self, seed: int) -> Result:
        name, task, options = self.match.name, self.match.task, self.match.options
        source, folder = SOURCES[name], options.shared / name
        budget = self.match.params().train
        if budget.minutes is None:
            sys.exit("train.minutes: torch-em trains for minutes")
        out = options.work / f"{name}-{task}-torch-em-seed{seed}.npy"
        command = [
            options.peer_python, ROOT / "benchmarks" / "_torch_em.py",
            "--image", folder / "image.tif", "--labels", folder / source.labels[task],
            "--train", "{}-{}".format(*source.train), "--predict", "{}-{}".format(*source.val),
            "--minutes", budget.minutes, "--patch", budget.patch,
            "--batch", budget.batch_size, "--seed", seed, "--task", task, "--out", out,
        ]  # fmt: skip
        status = run_json(list(map(str, command)), options)
        first, last = source.val
        truth = tifffile.imread(folder / source.labels[task])[first : last + 1]
        scores: dict[str, BySlice] = {}
        for z, (true, predicted) in enumerate(zip(truth, np.load(out), strict=True), first):
            for metric, value in score_slice(true, predicted, task).items():
                scores.setdefault(metric, {})[z] = value
        return Result(scores, status["steps"], status["seconds"])


def ingest(match: Match) -> None:
    """Make the volume; nothing happens where it is already."""
    source, folder = SOURCES[match.name], match.options.shared / match.name
    labels = [
        part
        for task, file in source.labels.items()
        for part in ("--labels", f"{task}={folder / file}")
    ]
    emsam(
        match.options, "data", "ingest", match.name, "--image", folder / "image.tif", *labels,
        "--voxel-size", source.voxel, "--split", source.split,
    )  # fmt: skip


def by_slice(run: Path) -> dict[str, BySlice]:
    """Scores of a run that was evaluated once; NaN where a slice has none."""
    (entry,) = json.loads((run / "scores.json").read_text())["sets"]
    scores: dict[str, BySlice] = {}
    for row in entry["rows"]:
        value = math.nan if row["value"] is None else row["value"]
        scores.setdefault(row["metric"], {})[row["z"]] = value
    return scores


def score_stack(match: Match, run: Path) -> dict[str, float]:
    """Scores in 3D of the linked validation slices; nothing where a set has no 3D labels."""
    source, folder, options = SOURCES[match.name], match.options.shared / match.name, match.options
    if source.stack is None:
        return {}
    first, last = source.val
    image, truth, ids = (run / f"stack-{part}.tif" for part in ("image", "truth", "ids"))
    for origin, copy in (("image.tif", image), (source.stack, truth)):
        tifffile.imwrite(copy, tifffile.imread(folder / origin)[first : last + 1])
    emsam(options, "segment", image, "--model", run, "--out", ids, "--link", "3d", "--overwrite")
    found = emsam(
        options, "score", "--truth", truth, "--pred", ids, "--task", "neurites", "--dims", "3d",
        "--voxel-size", source.voxel,
    )  # fmt: skip
    return {each["metric"]: each["mean"] for each in found["means"]}


def emsam(options: argparse.Namespace, *command: str | Path) -> dict[str, Any]:
    """What an ``emsam`` command prints as JSON."""
    return run_json([sys.executable, "-m", "emsam.cli", *map(str, command), "--json"], options)


def run_json(command: list[str], options: argparse.Namespace) -> dict[str, Any]:
    """Run a command with half of the cores and read the JSON document that it prints."""
    environment = {
        "EMSAM_DATA_ROOT": str(options.work / "data"),
        "OMP_NUM_THREADS": str(cores()),
        "EMSAM_CPU_SLOTS": "2",
    }
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, stdout=subprocess.PIPE, text=True,
        check=True,
    )  # fmt: skip
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def cores() -> int:
    """Half of the cores, for each of the two competitors."""
    return max(1, len(os.sched_getaffinity(0)) // 2)
