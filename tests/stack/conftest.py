"""A laboratory in which the whole stack runs, on ports of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from emsam.errors import StackFailed
from emsam.params import dump_params, load_params
from emsam.processes import is_alive
from emsam.stack.web import ask
from tests.conftest import TINY, Laboratory, make_laboratory
from tests.ports import free_ports
from tests.processes import kill_all, listening_elsewhere, processes_in, words_of
from tests.waiting import wait_for

STEPS = 400
LONGER = (f"train.steps={STEPS}", "train.batch_size=4", "train.checkpoint_every=10")
"""Overrides of a training long enough to be killed in."""


@dataclass
class Stack(Laboratory):
    """A laboratory whose commands find the stack."""

    def services(self, *arguments: str) -> dict[str, dict[str, Any]]:
        """Rows of ``emsam status``, or of another command, by name."""
        document = self.json(*(arguments or ("status",)))
        return {row["name"]: row for row in document["services"]}

    def ask(self, method: str, path: str, document: Any = None) -> Any:
        """A call of Prefect's REST interface."""
        url = f"http://127.0.0.1:{self.variables['EMSAM_PREFECT_PORT']}/api{path}"
        return ask(method, url, document)

    def trigger(self, deployment: str, **parameters: Any) -> str:
        """What ``prefect deployment run`` asks of the server; returns the id of the run."""
        found = self.ask("GET", f"/deployments/name/{deployment}")
        path = f"/deployments/{found['id']}/create_flow_run"
        return str(self.ask("POST", path, {"parameters": parameters})["id"])

    def fine_tune(self, *overrides: str) -> str:
        """Start the deployment ``fine-tune/gpu``."""
        params = load_params(overrides=[*TINY, "data.name=tiny", *overrides])
        return self.trigger("fine-tune/gpu", params=params.model_dump(mode="json"))

    def flow_run(self, run_id: str) -> dict[str, Any]:
        return dict(self.ask("GET", f"/flow_runs/{run_id}"))

    def wait_for_state(self, run_id: str, *states: str) -> dict[str, Any]:
        """Wait until a flow run is in one of ``states``."""
        ended = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")

        def arrived() -> dict[str, Any] | None:
            run = None
            with suppress(StackFailed):
                run = self.flow_run(run_id)
            if run and run["state_type"] in ended and run["state_type"] not in states:
                raise AssertionError(f"{run['state_type']}: {run['state']['message']}")
            return run if run and run["state_type"] in states else None

        return wait_for(arrived, f"{run_id} in {states}")

    def wait_for_training(self, seed: int) -> Path:
        """Wait until a run with this seed has a checkpoint; returns its directory."""

        def begun() -> Path | None:
            for run in (self.path / "runs").glob("*"):
                params = run / "params.yaml"
                mine = params.exists() and load_params(params).seed == seed
                if mine and list(run.glob("checkpoints/step-*/manifest.json")):
                    return run
            return None

        return wait_for(begun, f"a checkpoint with seed {seed}")

    def processes(self) -> list[psutil.Process]:
        """Every process that works in this laboratory or in a folder of it."""
        return processes_in(self.path)

    def require_local(self) -> None:
        """No process listens where another machine could reach it."""
        for process in self.processes():
            assert not listening_elsewhere(process), words_of(process)

    def workers_at_rest(self) -> None:
        """After a job: no engine and no trainer is left, and no slot is held.

        Prefect frees the slot of an engine that was killed when its lease ends, after a minute.
        """

        def at_rest() -> bool:
            lines = [" ".join(words_of(each)) for each in self.processes()]
            return not any("prefect.engine" in line or "emsam.train" in line for line in lines)

        def free() -> bool:
            limits = self.ask("POST", "/v2/concurrency_limits/filter", {})
            return all(limit["active_slots"] == 0 for limit in limits)

        wait_for(at_rest, "engines and trainers to end")
        wait_for(free, "slots to be free")


def kill(pid: int) -> None:
    """kill -9, and wait until the process is gone."""
    process = psutil.Process(pid)
    process.kill()
    wait_for(lambda: not is_alive(process), f"process {pid} to die")


def make_stack(path: Path) -> Stack:
    """A laboratory with a tiny volume and settings for a stack that does not run yet."""
    make_laboratory(path)
    prefect, mlflow, dashboard = free_ports(3)
    stack = Stack(path)
    stack.variables = {
        "EMSAM_PREFECT_PORT": str(prefect), "EMSAM_MLFLOW_PORT": str(mlflow),
        "EMSAM_DASHBOARD_PORT": str(dashboard), "EMSAM_POOLS": "cpu,gpu",
        "EMSAM_ON_PUBLISH": "fine-tune/gpu",
    }  # fmt: skip
    stack.run("data", "synthetic", "tiny", "--shape", "16,96,96")
    (path / "params.yaml").write_text(dump_params(load_params(overrides=TINY)))
    return stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that runs; whatever a test does, nothing of it is left afterwards."""
    made = make_stack(tmp_path_factory.mktemp("stack").resolve())
    try:
        made.run("up")
        yield made
    finally:
        with suppress(AssertionError):
            made.run("down")
        left = made.processes()
        kill_all(left)
        assert not left
