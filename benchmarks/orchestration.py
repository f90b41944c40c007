"""What the flow ``pipeline`` costs on top of its stages run by hand.

    python benchmarks/orchestration.py

Ours is the wall time of ``emsam pipeline`` on a small synthetic volume, from the first byte to the
champion; the peer is the sum of the same stages typed one after the other: publish, train,
evaluate, sync, register, promote, each a process of its own. Both in laboratories of their own,
with the same parameters. ``difference`` is what orchestration costs; each command's own start is in
the peer's sum. The first row has a stack that runs (``emsam up``, not counted); the second none, so
that the pipeline starts and ends a Prefect server itself.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from _table import Row, options, ratio, show

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.ports import free_ports

SETTINGS = (
    "model.name=unet", "train.batch_size=2", "train.patch=128", "train.validate_every=1000",
    "segment.tile=128", "segment.halo=32",
)  # fmt: skip
LIMIT = 20.0
"""Seconds that orchestration may cost."""


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--steps", type=int, default=100, help="of the training")
    parser.add_argument("--repeats", type=int, default=3, help="laboratories of each kind")
    parser.add_argument("--work", type=Path, help="folder to work in; a temporary one")
    arguments = parser.parse_args()
    show([compare(arguments, stack=stack) for stack in (True, False)], arguments.json, line)


def line(row: Row) -> str:
    verdict = "within" if row["difference"] <= LIMIT else "over"
    return (
        f"{row['name']:34} pipeline {row['ours']:6.1f}  by hand {row['peer']:6.1f} s  "
        f"difference {row['difference']:+.1f} s, {verdict} {LIMIT:.0f} s"
    )


def compare(arguments: argparse.Namespace, *, stack: bool) -> Row:
    """Medians of as many laboratories as asked for, pipeline and stages in turn."""
    ours, peer = [], []
    for _ in range(arguments.repeats):
        peer.append(measure(arguments, by_hand=True, stack=False))
        ours.append(measure(arguments, by_hand=False, stack=stack))
    a, b = statistics.median(ours), statistics.median(peer)
    name = "pipeline, stack running" if stack else "pipeline, its own Prefect server"
    return {"name": name, "ours": a, "peer": b, "ratio": ratio(a, b), "unit": "s"} | {
        "difference": a - b
    }


def measure(arguments: argparse.Namespace, *, by_hand: bool, stack: bool) -> float:
    """Seconds from a volume to a champion, in a fresh laboratory."""
    with ExitStack() as after:
        path = Path(after.enter_context(tempfile.TemporaryDirectory(dir=arguments.work)))
        lab = Laboratory(path)
        job = ["--data", "speed"]
        overrides = [f"train.steps={arguments.steps}", *SETTINGS]
        job += [word for item in overrides for word in ("--set", item)]
        if stack:
            after.callback(lab.emsam, "down")
            lab.emsam("up")
        began = time.perf_counter()
        if by_hand:
            stages(lab, job)
        else:
            lab.emsam("pipeline", *job)
        return time.perf_counter() - began


def stages(lab: Laboratory, job: list[str]) -> None:
    """What the pipeline does, typed by hand."""
    lab.emsam("data", "publish", "speed")
    run = lab.emsam("train", *job)["run"]
    lab.emsam("evaluate", run, "--data", "speed")
    lab.emsam("registry", "sync", run)
    model = lab.emsam("registry", "register", run)["model"]
    lab.emsam("promote", model, "--data", "speed")


class Laboratory:
    """A git repository with a synthetic volume, and free ports for a stack."""

    def __init__(self, path: Path) -> None:
        self.path = path
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("EMSAM_", "PREFECT_"))}
        names = ("EMSAM_PREFECT_PORT", "EMSAM_MLFLOW_PORT", "EMSAM_DASHBOARD_PORT")
        self.environment = clean | dict(zip(names, map(str, free_ports(3)), strict=True))
        (path / ".gitignore").write_text("/data/\n/runs/\n/.emsam/\n")
        for command in (
            ["init", "--quiet"],
            ["add", "."],
            ["-c", "user.name=x", "-c", "user.email=x@x", "commit", "--quiet", "-m", "x"],
        ):  # fmt: skip
            subprocess.run(["git", *command], cwd=path, check=True)
        self.emsam("data", "synthetic", "speed", "--shape", "16,128,128")

    def emsam(self, *arguments: str) -> Any:
        """Run a command with ``--json`` and parse what it prints."""
        done = subprocess.run(
            [sys.executable, "-m", "emsam.cli", *arguments, "--json"],
            cwd=self.path, env=self.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            sys.exit(f"emsam {' '.join(arguments)}: {done.stderr}")
        return json.loads(done.stdout)


if __name__ == "__main__":
    main()
