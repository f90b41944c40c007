"""The main job, with a real Prefect server, MLflow store and DVC remote."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from prefect.logging import disable_run_logger

from tests.canaries import CANARY, holders
from tests.conftest import make_laboratory, overrides
from tests.flows.conftest import Finished, run_after, synthesize

pytestmark = pytest.mark.slow


def test_the_first_model_becomes_champion(finished: Finished) -> None:
    assert finished.report["champion"] == "emsam-neurites/1"
    assert finished.report["verdict"] == "promote"
    (newest,) = finished.lab.json("registry", "log", "emsam-neurites")["versions"]
    assert newest["aliases"] == ["champion"]
    assert newest["data_digest"] == finished.report["digest"]


def test_mlflow_holds_what_the_run_was_made_from(finished: Finished) -> None:
    run = finished.client.get_run(finished.report["mlflow_run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.params["train.steps"] == "24"
    assert run.data.params["model.unet_widths"] == "[6, 8]"
    assert run.data.tags["mlflow.source.git.commit"] == finished.lab.git("rev-parse", "HEAD")
    assert run.data.tags["package.torch"].startswith("2.")
    assert json.loads(run.data.tags["hardware.cores"]) >= 1
    (dataset,) = run.inputs.dataset_inputs
    assert dataset.dataset.name == "tiny"
    assert dataset.dataset.digest == finished.report["digest"]


def test_mlflow_holds_every_step_once(finished: Finished) -> None:
    run_id = finished.report["mlflow_run_id"]
    losses = finished.client.get_metric_history(run_id, "train/loss")
    assert [point.step for point in losses] == list(range(1, 25))
    validation = finished.client.get_metric_history(run_id, "val/arand_contest_2d")
    assert [point.step for point in validation] == [12, 24]
    finished.lab.run("registry", "sync", str(finished.run))
    assert len(finished.client.get_metric_history(run_id, "train/loss")) == 24


def test_mlflow_holds_scores_checkpoint_and_figures(finished: Finished) -> None:
    run_id = finished.report["mlflow_run_id"]
    run = finished.client.get_run(run_id)
    mean = next(m for m in finished.report["means"] if m["metric"] == "arand_contest_2d")
    assert run.data.metrics["tiny/test/arand_contest_2d"] == pytest.approx(mean["mean"])
    scores = json.loads(Path(finished.client.download_artifacts(run_id, "scores.json")).read_text())
    rows = scores["sets"][0]["rows"]
    assert {row["z"] for row in rows} == {14, 15}
    assert {row["metric"] for row in rows} == {"arand_contest_2d", "voi_split_2d", "voi_merge_2d"}
    checkpoint = finished.client.list_artifacts(run_id, "checkpoints/step-000024")
    names = {Path(each.path).name for each in checkpoint}
    assert names == {"manifest.json", "model.safetensors", "params.yaml", "trainer.pt"}
    assert finished.client.list_artifacts(run_id, "figures")


def test_the_package_has_a_card_that_mlflow_shows_too(finished: Finished) -> None:
    version = finished.client.get_model_version("emsam-neurites", "1")
    package = str(version.source).split("/", 2)[2]
    card = Path(
        finished.client.download_artifacts(str(version.run_id), f"{package}/model-card.md")
    ).read_text()
    assert version.description == card
    for mean in finished.report["means"]:
        assert f"| tiny | test | `{mean['metric']}` | {mean['mean']:.4f} |" in card
    assert f"| tiny | {finished.report['digest']} | 0-11 | 12-13 |" in card
    assert "24 steps of 1 × 64² pixels" in card
    page = (Path(__file__).parents[2] / "docs" / "model-card.md").read_text()
    for heading in re.findall(r"^## (.+)$", card, re.MULTILINE):
        assert f"\n| {heading} |" in page


def test_the_checkout_stays_clean_and_the_version_can_be_fetched(finished: Finished) -> None:
    lab = finished.lab
    assert lab.git("status", "--porcelain") == ""
    assert lab.git("branch", "--show-current") == "main"
    assert lab.git("tag", "--list") == "data/tiny/v1"
    (version,) = lab.json("data", "log", "tiny")
    assert version["digest"] == finished.report["digest"]


def test_no_secret_is_kept_or_said(finished: Finished, prefect_home: Path) -> None:
    assert "EMSAM_NOTIFY: address 1 did not take" in finished.said  # they were used
    for name in ("runs", ".emsam/mlflow.db", ".emsam/artifacts", ".emsam/ledger.db", ".git"):
        assert (finished.lab.path / name).exists(), name
    assert (prefect_home / "prefect.db").stat().st_size > 0
    assert holders(finished.lab.path) + holders(prefect_home) == []
    assert CANARY not in finished.said


def test_a_second_pipeline_repeats_nothing(finished: Finished) -> None:
    before = (finished.run / "metrics.jsonl").stat().st_mtime_ns
    again = finished.lab.json("pipeline", "--data", "tiny", *overrides())
    assert (finished.run / "metrics.jsonl").stat().st_mtime_ns == before
    same = ("run", "digest", "data_version", "means", "model", "champion", "mlflow_run_id")
    assert {k: again[k] for k in same} == {k: finished.report[k] for k in same}
    known = finished.lab.json("registry", "log", "emsam-neurites")
    assert len(known["versions"]) == len(known["ledger"]) == 1
    (looks,) = known["looks"]  # evaluated and judged twice, by one package
    assert (looks["digest"], looks["models"]) == (finished.report["digest"], 1)


def test_the_package_predicts_what_the_command_segments(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    rng = np.random.default_rng(1)
    image = rng.integers(0, 255, (1, 100, 70), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "em.tif", image, photometric="minisblack")
    out = tmp_path / "ids.tif"
    finished.lab.run(
        "segment", str(tmp_path / "em.tif"), "--model", "emsam-neurites@champion",
        "--out", str(out),
    )  # fmt: skip
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    uri = f"sqlite:///{finished.lab.path / '.emsam' / 'mlflow.db'}"
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    loaded = mlflow.pyfunc.load_model("models:/emsam-neurites@champion")
    np.testing.assert_array_equal(loaded.predict(image[0]), tifffile.imread(out))


def test_the_flow_segments_what_the_command_segments(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.segment_volume import segment_volume

    image = np.random.default_rng(2).integers(0, 255, (3, 100, 70), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "em.tif", image, photometric="minisblack")
    shared = [str(tmp_path / "em.tif"), "--model", "champion", "--link", "3d"]
    said = finished.lab.json("segment", *shared, "--out", str(tmp_path / "a.zarr"))
    printed = finished.lab.run("segment", *shared, "--out", str(tmp_path / "b.zarr")).stdout
    assert "napari" in printed
    assert "neuroglancer" in printed
    expected = finished.lab.json("segment", *shared, "--out", "none.zarr", "--dry-run")
    assert (expected["voxels"], expected["slices"]) == (image.size, 3)
    assert min(expected[each] for each in ("seconds", "memory_bytes", "disk_bytes")) > 0
    monkeypatch.setenv("EMSAM_HOME", str(finished.lab.path / ".emsam"))
    with disable_run_logger():
        again = segment_volume.fn(str(tmp_path / "em.tif"), str(tmp_path / "c.zarr"))
    assert again["objects"] == said["objects"]
    ids = [np.asarray(zarr.open_array(tmp_path / f"{each}.zarr/0", mode="r")) for each in "ac"]
    np.testing.assert_array_equal(*ids)


def test_changed_weights_in_the_store_are_refused(finished: Finished, tmp_path: Path) -> None:
    weights = next((finished.lab.path / ".emsam" / "artifacts").rglob("model-*/**/*.safetensors"))
    content = weights.read_bytes()
    tifffile.imwrite(tmp_path / "em.tif", np.zeros((64, 64), np.uint8))
    try:
        weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        refused = finished.lab.run(
            "segment", str(tmp_path / "em.tif"), "--model", "emsam-neurites/1",
            "--out", str(tmp_path / "ids.tif"), status=2,
        )  # fmt: skip
    finally:
        weights.write_bytes(content)
    assert "sha256" in refused.stderr
    assert not (tmp_path / "ids.tif").exists()


def test_two_slices_dethrone_nobody(finished: Finished) -> None:
    """It and the next add versions to the shared laboratory: what counts them stands above."""
    better = finished.lab.json(
        "pipeline",
        "--data",
        "tiny",
        *overrides("train.steps=100", "train.batch_size=4", "train.learning_rate=0.01"),
    )
    assert (better["verdict"], better["champion"]) == ("inconclusive", "emsam-neurites/1")
    assert better["reason"].startswith("too few slices: 2 make 1 blocks")
    again = finished.lab.run("promote", better["model"], "--data", "tiny")
    assert again.stdout.startswith(f"inconclusive: {better['model']}, too few slices")
    known = finished.lab.json("registry", "log", "emsam-neurites")
    aliases = {v["version"]: v["aliases"] for v in known["versions"]}
    assert aliases == {1: ["champion"], 2: []}
    assert [row["to_version"] for row in known["ledger"]] == [1]
    assert finished.lab.json("registry", "verify", "emsam-neurites")["wrong"] == []
    kept = (finished.lab.path / ".emsam" / "decisions").glob("*/decision.json")
    assert {json.loads(each.read_text())["verdict"] for each in kept} == {"promote", "inconclusive"}


def test_other_post_processing_evaluates_again_and_trains_not(finished: Finished) -> None:
    before = (finished.run / "metrics.jsonl").stat().st_mtime_ns
    again = finished.lab.json("pipeline", "--data", "tiny", *overrides("segment.threshold=0.4"))
    assert again["run"] == finished.report["run"]
    assert (finished.run / "metrics.jsonl").stat().st_mtime_ns == before
    newest = finished.lab.json("registry", "log", "emsam-neurites")["versions"][0]
    assert again["model"] == f"emsam-neurites/{newest['version']}"
    assert newest["run"] == finished.report["run_name"]
    package = finished.client.download_artifacts(newest["run_id"], newest["package"])
    assert "threshold: 0.4" in (Path(package) / "artifacts" / "params.yaml").read_text()


CHANGED = """
from pathlib import Path
from flows.publish_dataset import publish_dataset

shard = max(Path("data/tiny/volume.zarr/image/0").rglob("c/**/0"))
publish_dataset.on_completion_hooks.append(
    lambda *_: shard.write_bytes(shard.read_bytes()[:-1] + b"x")
)
"""


def test_data_that_changed_after_it_was_published_are_not_trained_on(
    finished: Finished, tmp_path: Path
) -> None:
    lab = make_laboratory(tmp_path / "changed")
    lab.prefect_api = finished.lab.prefect_api
    synthesize(lab)
    done = run_after(CHANGED, lab, "pipeline", "--data", "tiny", *overrides(), status=2)
    assert "emsam: data/tiny/volume.zarr: changed since it was published as " in done.stderr
    assert not (lab.path / "runs").exists()


def test_where_says_who_was_trained_on_a_version(finished: Finished) -> None:
    (version,) = finished.lab.json("data", "log", "tiny")
    found = finished.lab.json("data", "where", version["tag"])
    assert {each["digest"] for each in found} == {version["digest"]}
    users = {(each["kind"], each["name"]) for each in found}
    name = finished.report["run_name"]
    wanted = {("run directory", name), ("MLflow run", name), ("model", "emsam-neurites/1")}
    assert users >= wanted
    assert finished.lab.json("data", "where", version["digest"][:8]) == found
    assert finished.lab.json("data", "where", "0" * 8) == []
    refused = finished.lab.run("data", "where", "x' OR 1", status=2)
    assert "neither a digest nor a tag" in refused.stderr
