"""How the stack bears a busy lab: 50 people in the dashboard, 200 metrics a second, 20 queued jobs.

    python benchmarks/load.py --profile team

A stack of its own on free ports of 127.0.0.1. First each alone: one session of the dashboard, one
run that is mirrored into MLflow. Then all at once for ``--seconds``: sessions as a browser opens
them (Streamlit's websocket) that look at one page after the other, run directories that grow by 200
values a second and are brought over by the same sync as in a flow, and trainings that wait for one
slot. ``ours`` is the 95th percentile under load, ``peer`` the median alone; ``median`` and
``errors`` are beside them. Exit status 1 if anything failed or a metric did not arrive exactly
once.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from _load_sessions import PAGES, Pages, walk
from _table import Row, options, ratio, show

sys.path.insert(0, str(Path(__file__).parents[1]))

from emsam.data.synthetic import synthesize_volume
from emsam.params import load_params
from emsam.registry.client import open_client
from emsam.registry.tracking import find_run, sync_progress
from emsam.settings import Settings
from emsam.train.prepare import prepare_run
from emsam.train.run_directory import RUNNING, RunDirectory
from tests.conftest import TINY
from tests.soak.lab import SoakLab, soak_lab

RUNS = 4
"""Run directories that grow at a time."""
KEYS = tuple(f"train/part{n}" for n in range(5))
"""Values of a step."""
_WORST = 600.0
"""Seconds in which the queued jobs have to end."""


def main() -> None:
    arguments = parse()
    with soak_lab(arguments.profile) as lab, contextlib.chdir(lab.path):
        lab.variables["EMSAM_CPU_SLOTS"] = "1"
        begun = lab.emsam("up", "--profile", arguments.profile)
        if begun.returncode:
            sys.exit(f"the stack does not start: {begun.stderr.strip()}")
        rows = measure(arguments, lab)
        lab.emsam("down")
    show(rows, arguments.json, line)
    sys.exit(1 if any(row["errors"] for row in rows) else 0)


def parse() -> argparse.Namespace:
    parser = options(__doc__)
    parser.add_argument("--profile", choices=("local", "team"), default="local")
    parser.add_argument("--sessions", type=int, default=50, help="of the dashboard")
    parser.add_argument("--writes", type=int, default=200, help="metric values a second")
    parser.add_argument("--jobs", type=int, default=20, help="trainings that wait for one slot")
    parser.add_argument("--seconds", type=float, default=60, help="of all three at once")
    return parser.parse_args()


def line(row: Row) -> str:
    return (
        f"{row['name']:44} p50 {row['median']:7.2f}  p95 {row['ours']:7.2f}  alone "
        f"{row['peer']:7.2f} {row['unit']}  n {row['count']}  errors {row['errors']}"
    )


def measure(arguments: argparse.Namespace, lab: SoakLab) -> list[Row]:
    settings, address = lab.settings, f"http://127.0.0.1:{lab.ports['dashboard_port']}"
    synthesize_volume("busy", settings.volume_path("busy"), shape=(10, 64, 64))
    walk(address, 1, 5)  # imports, the first connection
    alone = walk(address, 1, 25)
    writer = Writers(settings, 1, arguments.writes / RUNS)
    writer.run(8)
    writers = Writers(settings, RUNS, arguments.writes / RUNS, first=1)
    queue = Queue(lab, arguments.jobs)
    threads = [
        threading.Thread(target=writers.run, args=(arguments.seconds,)),
        threading.Thread(target=queue.run),
    ]
    for thread in threads:
        thread.start()
    busy = walk(address, arguments.sessions, arguments.seconds)
    for thread in threads:
        thread.join()
    return [*page_rows(busy, alone, arguments), writers.row(writer, arguments), *queue.rows()]


def page_rows(busy: Pages, alone: Pages, arguments: argparse.Namespace) -> list[Row]:
    def of(page: str, name: str, errors: int) -> Row:
        here, there = busy.seconds.get(page, []), alone.seconds.get(page, [])
        return row(f"page {name}, {arguments.sessions} sessions", here, there, errors)

    rows = [of(page, page or "overview", 0) for page in PAGES]
    every = f"all pages, {arguments.sessions} sessions"
    for said in busy.errors[:5]:
        print(said, file=sys.stderr)
    return [*rows, row(every, busy.all_seconds(), alone.all_seconds(), len(busy.errors))]


def row(name: str, ours: list[float], peer: list[float], errors: int) -> Row:
    p95 = float(np.percentile(ours, 95)) if ours else float("nan")
    alone = statistics.median(peer) if peer else float("nan")
    return {
        "name": name, "ours": p95, "peer": alone, "ratio": ratio(p95, alone), "unit": "s",
        "median": statistics.median(ours) if ours else float("nan"), "count": len(ours),
        "errors": errors,
    }  # fmt: skip


class Writers:
    """Run directories that grow as in training, each mirrored every second."""

    def __init__(self, settings: Settings, count: int, speed: float, first: int = 0) -> None:
        self._settings, self._speed = settings, speed
        self._runs = [self._prepare(first + n) for n in range(count)]
        self.seconds: list[float] = []
        self.errors = 0

    def _prepare(self, number: int) -> RunDirectory:
        params = load_params(overrides=[*TINY, "data.name=busy", f"seed={1000 + number}"])
        run = prepare_run(params, self._settings, self._settings.runs_root / f"growing{number}")
        run.write_status(state=RUNNING, step=0, seconds=0.0)
        return run

    def run(self, seconds: float) -> None:
        """Let all grow for a while, then compare MLflow with them."""
        threads = [threading.Thread(target=self._grow, args=(run, seconds)) for run in self._runs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.errors += sum(self._differs(run) for run in self._runs)

    def _grow(self, run: RunDirectory, seconds: float) -> None:
        began = time.monotonic()
        step = 0
        while (now := time.monotonic() - began) < seconds:
            while step * len(KEYS) < now * self._speed:
                step += 1
                run.append_metrics({"step": step, "seconds": now} | dict.fromkeys(KEYS, 1 / step))
            asked = time.monotonic()
            try:
                sync_progress(run, self._settings)
            except Exception as error:
                print(f"{run.name}: {error}", file=sys.stderr)
                self.errors += 1
            self.seconds.append(time.monotonic() - asked)
            time.sleep(max(0.0, 1 - self.seconds[-1]))
        sync_progress(run, self._settings)

    def _differs(self, run: RunDirectory) -> bool:
        client = open_client(self._settings)
        run_id = find_run(client, run, self._settings)
        steps = [entry["step"] for entry in run.metrics()]
        return any(
            [each.step for each in client.get_metric_history(str(run_id), key)] != steps
            for key in KEYS
        )

    def row(self, alone: Writers, arguments: argparse.Namespace) -> Row:
        name = f"sync of a second of metrics, {arguments.writes} values/s in {RUNS} runs"
        return row(name, self.seconds, alone.seconds, self.errors)


class Queue:
    """Trainings triggered at once that wait for one slot of this host."""

    def __init__(self, lab: SoakLab, count: int) -> None:
        self._lab, self._count = lab, count
        self._asked: list[float] = []
        self._took: list[float] = []
        self._states: list[str] = []

    def run(self) -> None:
        began = time.monotonic()
        ids = [self._trigger(number) for number in range(self._count)]
        left = set(ids)
        while left and time.monotonic() - began < _WORST:
            for run_id in list(left):
                state = self._lab.ask("GET", f"/flow_runs/{run_id}")["state_type"]
                if state in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
                    left.remove(run_id)
                    self._states.append(state)
                    self._took.append(time.monotonic() - began)
            time.sleep(1)

    def _trigger(self, number: int) -> str:
        overrides = [*TINY, "data.name=busy", f"seed={number}"]
        params: dict[str, Any] = load_params(overrides=overrides).model_dump(mode="json")
        found = self._lab.ask("GET", "/deployments/name/fine-tune/cpu")
        asked = time.monotonic()
        path = f"/deployments/{found['id']}/create_flow_run"
        made = self._lab.ask("POST", path, {"parameters": {"params": params}})
        self._asked.append(time.monotonic() - asked)
        return str(made["id"])

    def rows(self) -> list[Row]:
        failed = self._count - self._states.count("COMPLETED")
        return [
            row(f"a job is taken into the queue, {self._count} at once", self._asked, [], 0),
            row(f"a job is done, {self._count} in one slot", self._took, [], failed),
        ]


if __name__ == "__main__":
    main()
