"""Runs that MLflow takes for running, and data that is no version: found, mended or told."""

from __future__ import annotations

import os
import socket

import pytest

from emsam.data.synthetic import synthesize_volume
from emsam.params import load_params
from emsam.processes import identify
from emsam.registry.client import open_client
from emsam.registry.tracking import sync_run
from emsam.settings import Settings
from emsam.train.prepare import prepare_run
from emsam.train.run_directory import FAILED, RUNNING, STOPPED, WAITING, RunDirectory
from flows.differences import find_differences
from tests.conftest import TINY, Laboratory
from tests.registry.conftest import settings_in

HERE = {"host": socket.gethostname()}
DEAD = {"pid": 4_000_000, "pid_started": 1.0} | HERE


@pytest.fixture
def settings(lab: Laboratory, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(lab.path)
    return settings_in(lab.path)


@pytest.fixture
def run(settings: Settings) -> RunDirectory:
    """A run that MLflow has as RUNNING."""
    synthesize_volume("tiny", settings.volume_path("tiny"), shape=(10, 64, 64))
    params = load_params(overrides=[*TINY, "data.name=tiny"])
    run = prepare_run(params, settings, settings.runs_root / "first")
    sync_run(run, settings)
    return run


def mlflow_status(run: RunDirectory, settings: Settings) -> str:
    client = open_client(settings)
    experiment = client.get_experiment_by_name("emsam")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.data.tags["emsam.key"] == run.inputs()["id"]
    return str(found.info.status)


@pytest.mark.parametrize(
    ("state", "written", "said"),
    [(RUNNING, FAILED, "FAILED"), (WAITING, STOPPED, "KILLED"), (STOPPED, STOPPED, "KILLED")],
)
def test_a_run_that_has_ended_is_brought_up_to_date_once(
    run: RunDirectory, settings: Settings, state: str, written: str, said: str
) -> None:
    run.write_status(**DEAD, state=state, step=0)
    assert mlflow_status(run, settings) == "RUNNING"
    (mended,) = [each for each in find_differences(settings) if each.kind == "run"]
    assert mended.mended
    assert run.status()["state"] == written
    assert mlflow_status(run, settings) == said
    assert [each for each in find_differences(settings) if each.kind == "run"] == []


@pytest.mark.parametrize("status", [identify(os.getpid()) | HERE, DEAD | {"host": "elsewhere"}])
def test_a_run_that_somebody_trains_is_left_alone(
    run: RunDirectory, settings: Settings, status: dict[str, object]
) -> None:
    run.write_status(**status, state=RUNNING, step=0)
    assert [each for each in find_differences(settings) if each.kind == "run"] == []
    assert mlflow_status(run, settings) == "RUNNING"


def test_data_that_is_no_version_is_listed(run: RunDirectory, settings: Settings) -> None:
    (found,) = find_differences(settings)
    digest = run.inputs()["data"][0]["digest"]
    assert (found.kind, found.where, found.mended) == ("data", str(run.path), False)
    assert found.what == f"trained on tiny {digest}, which is no published version"
