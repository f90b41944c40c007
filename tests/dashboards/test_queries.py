"""What the pages ask of MLflow and of the run directories."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from dashboards.queries import champions, runs
from dashboards.queries.runs import RunRow
from dashboards.queries.tracker import TrackerUnreachable
from emsam.data.digest import folder_digest
from emsam.errors import InputError
from emsam.registry.client import open_client
from emsam.settings import Settings
from emsam.train.run_directory import RunDirectory

pytestmark = pytest.mark.slow  # the lab trains two networks


def run_named(name: str, settings: Settings) -> RunRow:
    return next(run for run in runs.list_runs(settings) if run.name == name)


def test_runs_are_listed_newest_first_with_what_they_saw(lab: Settings, odd_name: str) -> None:
    found = runs.list_runs(lab)
    assert [run.name for run in found] == [odd_name, "first"]
    first = found[1]
    assert (first.task, first.model, first.data, first.state) == (
        "neurites",
        "unet",
        "tiny",
        "done",
    )
    assert first.digest == folder_digest(lab.volume_path("tiny"))
    assert first.label == "first"


def test_runs_of_the_same_name_get_different_labels(lab: Settings, tmp_path: Path) -> None:
    settings = lab.model_copy(update={"experiment": "twins"})
    client = open_client(settings)
    experiment = client.create_experiment("twins", artifact_location=tmp_path.as_uri())
    for _ in range(2):
        client.create_run(experiment, run_name="twin")
    labels = {run.label for run in runs.list_runs(settings)}
    assert len(labels) == 2


def test_reading_makes_no_database(empty_lab: Settings) -> None:
    assert runs.list_runs(empty_lab) == []
    assert champions.find_champion("neurites", empty_lab) is None
    assert not empty_lab.home.exists()


def test_an_absent_server_is_said_without_its_password(cut_off: Settings) -> None:
    with pytest.raises(TrackerUnreachable, match=r"http://127\.0\.0\.1:1\. Start it") as caught:
        runs.list_runs(cut_off)
    assert "secret" not in str(caught.value)


def test_a_damaged_database_is_said(empty_lab: Settings) -> None:
    empty_lab.home.mkdir()
    (empty_lab.home / "mlflow.db").write_text("no database " * 200)
    with pytest.raises(TrackerUnreachable, match=r"mlflow\.db"):
        runs.list_runs(empty_lab)


def test_the_champion_has_the_score_of_its_decision_and_its_interval(lab: Settings) -> None:
    champion = champions.find_champion("neurites", lab)
    assert champion is not None
    assert (champion.model, champion.version, champion.run) == ("emsam-neurites", "1", "first")
    entry = runs.score_sets(run_named("first", lab), lab)[0]
    mean = next(m for m in entry["means"] if m["metric"] == "arand_contest_2d")
    assert champion.score == pytest.approx(mean["mean"], abs=5e-5)
    assert (champion.low, champion.high) == (mean["low"], mean["high"])
    assert champion.low <= champion.score <= champion.high
    assert champion.digest == entry["digest"]
    assert champion.reason == "there was no champion"
    assert champions.find_champion("mitochondria", lab) is None


def test_scores_of_a_later_checkpoint_are_not_the_champions(lab: Settings) -> None:
    found = open_client(lab).get_model_version("emsam-neurites", "1")
    sets = json.loads(json.dumps(runs.score_sets(run_named("first", lab), lab)))
    sets[0]["means"][0]["mean"] += 0.1
    champion = champions._describe(found, "neurites", sets, None)
    assert champion.score == json.loads(found.tags["emsam.decision"])["candidate_score"]
    assert champion.low is None


def test_scores_come_from_mlflow_when_the_folder_is_elsewhere(
    lab: Settings, tmp_path: Path
) -> None:
    run = run_named("first", lab)
    elsewhere = lab.model_copy(update={"runs_root": tmp_path})
    assert runs.score_sets(run, elsewhere) == runs.score_sets(run, lab)


def test_damaged_scores_name_the_file(lab: Settings, tmp_path: Path) -> None:
    root = tmp_path / "runs"
    folder = shutil.copytree(lab.runs_root / "first", root / "first")
    (folder / "scores.json").write_text('{"sets": ')
    run = replace(run_named("first", lab), directory=str(folder))
    with pytest.raises(InputError, match=r"scores\.json: damaged"):
        runs.score_sets(run, lab.model_copy(update={"runs_root": root}))


@pytest.mark.parametrize("way", ["absolute", "dots", "link", "sibling"])
def test_a_tag_cannot_lead_outside_runs_root(lab: Settings, tmp_path: Path, way: str) -> None:
    root = tmp_path / "runs"
    root.mkdir()
    outside = shutil.copytree(lab.runs_root / "first", tmp_path / "runs-private")
    (root / "link").symlink_to(outside)
    directory = {
        "absolute": "/etc",
        "dots": f"{root}/../runs-private",
        "link": f"{root}/link",
        "sibling": str(outside),
    }[way]
    run = replace(run_named("first", lab), directory=directory)
    settings = lab.model_copy(update={"runs_root": root})
    with pytest.raises(InputError, match="EMSAM_RUNS_ROOT"):
        runs.local_run(run, settings)
    assert runs.local_status(run, settings) == {}


def test_a_run_that_was_not_mirrored_is_found(lab: Settings, tmp_path: Path) -> None:
    root = tmp_path / "runs"
    folder = shutil.copytree(lab.runs_root / "first", root / "new")
    settings = lab.model_copy(update={"runs_root": root})
    assert runs.unmirrored_runs(runs.list_runs(lab), settings) == [str(folder)]
    assert runs.unmirrored_runs(runs.list_runs(lab), lab) == []


def test_only_differing_parameters_are_kept(lab: Settings) -> None:
    differing = runs.differing_params(runs.list_runs(lab))
    assert differing == {"train.steps": ["3", "2"]}


def test_a_learning_curve_has_a_point_a_step(lab: Settings) -> None:
    steps, minutes, values = runs.learning_curve(run_named("first", lab).run_id, "train/loss", lab)
    assert 0 < minutes[0] < minutes[1] < 5
    assert steps == [1, 2]
    logged = [line["train/loss"] for line in RunDirectory(lab.runs_root / "first").metrics()]
    assert values == pytest.approx(logged)


def test_a_long_curve_is_thinned_out(lab: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "MOST_POINTS", 1)
    steps, *_ = runs.learning_curve(run_named("first", lab).run_id, "train/loss", lab)
    assert steps == [1]


def test_the_best_run_follows_the_metrics_direction() -> None:
    means = {"a": 0.1, "b": 0.2, "c": None}
    assert runs.best_runs(means, "arand_contest_2d") == {"a"}
    assert runs.best_runs(means, "ap50_accuracy_2d") == {"b"}
    assert runs.best_runs({"a": 0.1, "b": 0.1}, "arand_contest_2d") == {"a", "b"}
    assert runs.best_runs({"a": 0.1, "c": None}, "arand_contest_2d") == set()
