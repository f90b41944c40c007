"""The stack with real servers, workers and trainers, and what kills them."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from emsam.stack.deploy import declared, shipped
from tests.conftest import overrides
from tests.processes import kill_all
from tests.stack.conftest import LONGER, STEPS, Stack, kill
from tests.waiting import wait_for

pytestmark = pytest.mark.slow

SERVICES = ["prefect", "mlflow", "worker-cpu", "worker-gpu", "dashboard"]


def steps_of(run: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def engine_of(stack: Stack, run_id: str) -> int:
    return int(stack.flow_run(run_id)["infrastructure_pid"])


def test_up_starts_everything_here_alone_and_a_second_one_adopts_it(stack: Stack) -> None:
    before = stack.services()
    assert list(before) == SERVICES
    assert {row["state"] for row in before.values()} == {"running"}
    assert all(Path(row["log"]).stat().st_size > 0 for row in before.values())
    assert all(time.time() - 3600 < row["since"] < time.time() for row in before.values())
    after = stack.services("up")
    assert {name: row["pid"] for name, row in after.items()} == {
        name: row["pid"] for name, row in before.items()
    }
    stack.require_local()


def test_prefect_has_the_deployments_and_their_forms_explain_themselves(stack: Stack) -> None:
    deployments = stack.ask("POST", "/deployments/filter", {})
    flows = {each["id"]: each["name"] for each in stack.ask("POST", "/flows/filter", {})}
    names = {f"{flows[each['flow_id']]}/{each['name']}" for each in deployments}
    assert names == declared(shipped("prefect.yaml"))
    unexplained = set()
    for deployment in deployments:
        assert deployment["description"]
        assert deployment["tags"]
        assert deployment["path"] is None  # no worker needs the folder of whoever deployed
        schema = deployment["parameter_openapi_schema"]
        for name, entry in schema["properties"].items():
            section = entry.get("$ref", "").rpartition("/")[2]
            if not (entry.get("description") or schema.get("definitions", {}).get(section)):
                unexplained.add((flows[deployment["flow_id"]], name))
        for name, section in schema.get("definitions", {}).items():
            for key, entry in section.get("properties", {}).items():
                if not ("description" in entry or "$ref" in entry):
                    unexplained.add((name, key))
    assert unexplained <= {("fine-tune", "version")}


def test_kill_9_of_the_engine(stack: Stack) -> None:
    run_id = stack.fine_tune(*LONGER, "seed=1")
    run = stack.wait_for_training(1)
    kill(engine_of(stack, run_id))
    stack.wait_for_state(run_id, "CRASHED")
    again = stack.fine_tune(*LONGER, "seed=1")
    stack.wait_for_state(again, "COMPLETED")
    assert steps_of(run) == list(range(1, STEPS + 1))
    stack.workers_at_rest()


def test_kill_9_of_the_worker(stack: Stack) -> None:
    run_id = stack.fine_tune(*LONGER, "seed=2")
    run = stack.wait_for_training(2)
    before = stack.services()
    kill(before["worker-gpu"]["pid"])
    assert stack.services()["worker-gpu"]["state"] == "died"
    after = stack.services("up")
    assert after["worker-gpu"]["state"] == "running"
    changed = {name for name, row in after.items() if row["pid"] != before[name]["pid"]}
    assert changed == {"worker-gpu"}
    stack.wait_for_state(run_id, "COMPLETED")
    assert steps_of(run) == list(range(1, STEPS + 1))
    stack.workers_at_rest()


def test_kill_9_of_prefects_server_in_mid_training(stack: Stack) -> None:
    run_id = stack.fine_tune(*LONGER, "seed=3")
    run = stack.wait_for_training(3)
    before = stack.services()
    kill(before["prefect"]["pid"])
    assert stack.services()["prefect"]["state"] == "died"
    after = stack.services("up")
    changed = {name for name, row in after.items() if row["pid"] != before[name]["pid"]}
    assert changed == {"prefect"}
    stack.wait_for_state(run_id, "COMPLETED")
    assert steps_of(run) == list(range(1, STEPS + 1))
    stack.workers_at_rest()


def test_a_duplicate_trigger_trains_once(stack: Stack) -> None:
    runs = [stack.fine_tune("seed=4") for _ in range(2)]
    for run_id in runs:
        stack.wait_for_state(run_id, "COMPLETED")
    assert steps_of(stack.wait_for_training(4)) == list(range(1, 25))
    stack.workers_at_rest()


def test_a_new_version_starts_a_training_and_the_same_version_does_not(stack: Stack) -> None:
    for _ in range(2):
        stack.wait_for_state(stack.trigger("publish-dataset/cpu", name="tiny"), "COMPLETED")
    (version,) = stack.json("data", "log", "tiny")
    started = [
        run
        for run in stack.ask("POST", "/flow_runs/filter", {})
        if run["parameters"].get("version") == version["digest"]
    ]
    assert len(started) == 1
    stack.wait_for_state(started[0]["id"], "COMPLETED")
    stack.workers_at_rest()


def test_a_pipeline_uses_the_stack_and_one_that_is_killed_does_not_run_for_ever(
    stack: Stack,
) -> None:
    report = stack.json("pipeline", "--data", "tiny", *overrides())
    assert report["tracking_uri"] == stack.services()["mlflow"]["url"]
    assert report["champion"] == "emsam-neurites/1"
    arguments = ["pipeline", "--data", "tiny", *overrides(*LONGER, "seed=5")]
    pipeline = subprocess.Popen(
        stack.command(*arguments), cwd=stack.path, env=stack.environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    stack.wait_for_training(5)
    refused = stack.run("down", status=2)
    assert f"process {pipeline.pid}" in refused.stderr
    trainer = psutil.Process(pipeline.pid).children()
    pipeline.kill()
    pipeline.wait()
    kill_all(trainer)
    active = {
        "flow_runs": {"state": {"type": {"any_": ["RUNNING"]}}},
        "flows": {"name": {"any_": ["pipeline", "fine-tune"]}},
    }
    assert len(stack.ask("POST", "/flow_runs/filter", active)) == 2  # and the training inside it
    stack.run("up")
    assert stack.ask("POST", "/flow_runs/filter", active) == []
    stack.workers_at_rest()


def test_down_cancels_what_runs_and_all_else_works_without_the_stack(stack: Stack) -> None:
    """Runs last: it stops the stack."""
    run_id = stack.fine_tune(*LONGER, "train.steps=100000", "seed=6")
    run = stack.wait_for_training(6)
    stopped = stack.json("down")["stopped"]
    assert sorted(stopped) == sorted(SERVICES)
    wait_for(lambda: not stack.processes(), "all processes to end")
    assert json.loads((run / "status.json").read_text())["state"] == "stopped"
    assert {row["state"] for row in stack.services().values()} == {"stopped"}
    database = stack.path / ".emsam" / "prefect" / "prefect.db"
    with sqlite3.connect(database) as connection:
        question = "select state_type from flow_run where id = ?"
        assert connection.execute(question, (run_id,)).fetchone() == ("CANCELLED",)
    assert stack.json("down") == {"stopped": []}
    (version,) = stack.json("registry", "log", "emsam-neurites")["versions"]
    assert version["aliases"] == ["champion"]
