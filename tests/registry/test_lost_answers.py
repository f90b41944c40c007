"""MLflow's server commits and dies before it answers: its client asks again, and makes it twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from emsam.data.synthetic import synthesize_volume
from emsam.params import load_params
from emsam.registry.client import experiment_id, open_client
from emsam.registry.models import register_run
from emsam.registry.tracking import running_runs, sync_run
from emsam.settings import Settings
from emsam.train.prepare import prepare_run
from emsam.train.run_directory import DONE, RunDirectory
from tests.conftest import TINY
from tests.faults.door import OPEN, Door
from tests.faults.test_mlflow_away import server
from tests.registry.conftest import settings_in

__all__ = ["server"]

pytestmark = pytest.mark.slow


@pytest.fixture
def door(server: int) -> Iterator[Door]:
    made = Door(server)
    made.turn(OPEN)
    yield made
    made.close()


def trained(settings: Settings) -> RunDirectory:
    """A run that is done."""
    synthesize_volume("tiny", settings.volume_path("tiny"), shape=(10, 64, 64))
    params = load_params(overrides=[*TINY, "data.name=tiny", "train.steps=4"])
    run = prepare_run(params, settings, settings.runs_root / "first")
    run.save_checkpoint(4, {"weight": torch.zeros(3)}, {"step": 4}, keep=2)
    run.append_metrics({"step": 1, "seconds": 0.1, "train/loss": 1.0})
    run.write_status(state=DONE, step=4, seconds=1.0)
    return run


def add_trial(run: RunDirectory, number: int) -> None:
    """A line as 'emsam tune' writes it."""
    segment = {"threshold": 0.1 * number}
    line = {"study": "s", "trial": number, "data": "tiny", "metric": "m", "value": 1.0, "at": 1}
    run.append_trial(line | {"segment": segment})


def test_what_was_made_twice_is_there_once(door: Door, tmp_path: Path) -> None:
    uri = f"http://127.0.0.1:{door.port}"
    settings = settings_in(tmp_path, mlflow_uri=uri, experiment="lost")
    run, client = trained(settings), open_client(settings)

    def runs() -> list[str]:
        experiment = client.get_experiment_by_name(settings.experiment)
        assert experiment is not None
        found = client.search_runs([experiment.experiment_id])
        return sorted(each.info.status for each in found)

    door.lose = b"experiments/create"
    assert experiment_id(client, settings)
    assert not door.lose

    for expected in (1, 2, 3):  # the run, then its trials, one by one
        door.lose = b"runs/create"
        sync_run(run, settings)
        assert not door.lose
        assert runs() == ["FINISHED"] * expected
        add_trial(run, expected)
    assert running_runs(settings) == []

    door.lose = b"model-versions/create"
    version = register_run(run, settings)
    assert not door.lose
    name = settings.model_name("neurites")
    (only,) = client.search_model_versions(f"name = '{name}'")
    assert (only.version, only.run_id) == (version.version, version.run_id)
    assert register_run(run, settings).version == version.version
