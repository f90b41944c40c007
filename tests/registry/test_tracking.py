"""Runs are mirrored into MLflow at the same time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mlflow import MlflowClient

from emsam.data.synthetic import synthesize_volume
from emsam.params import load_params
from emsam.registry.client import experiment_id, open_client
from emsam.registry.tracking import sync_run
from emsam.train.prepare import prepare_run
from tests.conftest import TINY
from tests.registry.conftest import settings_in

COUNT = 6


@pytest.mark.slow
def test_runs_may_name_a_new_data_set_at_the_same_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_in(tmp_path)
    synthesize_volume("tiny", settings.volume_path("tiny"), shape=(10, 64, 64))
    runs = [
        prepare_run(
            load_params(overrides=[*TINY, "data.name=tiny", f"seed={number}"]),
            settings,
            settings.runs_root / f"run{number}",
        )
        for number in range(COUNT)
    ]
    client = open_client(settings)
    experiment_id(client, settings)
    together, log_inputs = threading.Barrier(COUNT), MlflowClient.log_inputs
    began: set[str] = set()

    def log(self: MlflowClient, run_id: str, *inputs: object) -> None:
        if run_id not in began:
            began.add(run_id)
            together.wait(60)
        log_inputs(self, run_id, *inputs)  # type: ignore[arg-type]

    monkeypatch.setattr(MlflowClient, "log_inputs", log)
    with ThreadPoolExecutor(COUNT) as pool:
        found = list(pool.map(lambda run: sync_run(run, settings), runs))
    for run_id in found:
        (data,) = client.get_run(run_id).inputs.dataset_inputs
        assert data.dataset.name == "tiny"
