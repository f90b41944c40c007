"""Tuned post-processing on its way: run directory, MLflow, model package."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from tests.conftest import Laboratory, overrides
from tests.flows.conftest import synthesize

pytestmark = pytest.mark.slow


def test_trials_are_mirrored_once_and_the_model_is_packaged_with_the_best(lab: Laboratory) -> None:
    synthesize(lab)
    lab.run(
        "train", "--data", "tiny", "--run", "runs/one", *overrides("segment.method=agglomerate")
    )
    refused = lab.run("tune", "runs/one", "--data", "tiny", "--split", "test", status=2)
    assert "val slices" in refused.stderr
    found = lab.json("tune", "runs/one", "--data", "tiny", "--trials", "4")
    assert found["after"] <= found["before"]

    evaluated = lab.json("evaluate", "runs/one", "--data", "tiny", "--split", "val")
    (mean,) = [m for m in evaluated["means"] if m["metric"] == found["metric"]]
    assert mean["mean"] == pytest.approx(found["after"], abs=0.02)  # maps were kept in 16 bits

    for _ in range(2):
        lab.run("registry", "sync", "runs/one")
    uri = f"sqlite:///{lab.path / '.emsam' / 'mlflow.db'}"
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    experiment = client.get_experiment_by_name("emsam")
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    trials = [run for run in runs if run is not parent]
    assert {run.data.tags["mlflow.parentRunId"] for run in trials} == {parent.info.run_id}
    assert len(trials) == 4
    values = [run.data.metrics["tuning/arand_contest_2d"] for run in trials]
    assert min(values) == pytest.approx(found["after"])
    assert all("segment.merge" in run.data.params for run in trials)
    assert parent.data.tags["segment.merge"] == str(found["segment"]["merge"])

    lab.run("registry", "register", "runs/one")
    version = client.get_model_version("emsam-neurites", "1")
    package = client.download_artifacts(
        parent.info.run_id, str(version.source).split("/", 2)[2], str(lab.path)
    )
    packaged = yaml.safe_load((Path(package) / "artifacts" / "params.yaml").read_text())
    assert packaged["segment"]["merge"] == found["segment"]["merge"]
