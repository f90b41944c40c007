"""A lab to review in, made without training: a volume, two models' masks with known errors."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from emsam.data.digest import folder_digest
from emsam.data.store import Volume
from emsam.data.synthetic import synthesize_volume
from emsam.documents import document_digest
from emsam.metrics.list_errors import list_errors
from emsam.metrics.score_slice import score_slice
from emsam.params import Params, dump_params
from emsam.registry.client import experiment_id, open_client
from emsam.registry.database import Database
from emsam.registry.decision import Decision
from emsam.registry.decision_page import predictions_name, write_decision
from emsam.registry.decisions import keep_decision
from emsam.segment.evaluate import SliceResult, score_rows
from emsam.segment.kept_predictions import keep_predictions
from emsam.settings import Settings
from emsam.train.run_directory import RunDirectory

MODEL = "emsam-neurites"
ODD_NAME = "second <script>alert(1)</script> *bold*"
"""A run name that a page must show as it is."""
Predict = Callable[[int, np.ndarray], np.ndarray]
"""Ids that a model predicts, from z and the truth."""


def merging(z: int, truth: np.ndarray) -> np.ndarray:
    """All right, but for the two largest objects, which are one, and a thin membrane."""
    ids, sizes = np.unique(truth[truth > 0], return_counts=True)
    first, second = ids[np.argsort(-sizes)[:2]]
    return np.where(truth == second, first, truth).astype(np.int32)


def splitting(z: int, truth: np.ndarray) -> np.ndarray:
    """All right, but for the largest object, which is cut in the middle, from slice to slice."""
    ids, sizes = np.unique(truth[truth > 0], return_counts=True)
    largest = truth == ids[np.argmax(sizes)]
    rows = np.flatnonzero(largest.any(axis=1))
    below = np.arange(truth.shape[0])[:, None] > rows.mean()
    return np.where(largest & below, truth.max() + 1, truth).astype(np.int32)


def make_review_lab(
    settings: Settings, *, shape: tuple[int, int, int] = (12, 640, 600)
) -> Decision:
    """A volume ``tissue``, runs ``first`` and :data:`ODD_NAME`, and a decision to promote.

    The candidate merges (:func:`merging`), the champion's place is empty; of the runs the first
    merges and the second splits.
    """
    volume = synthesize_volume("tissue", settings.volume_path("tissue"), shape=shape)
    for name, predict in (("first", merging), (ODD_NAME, splitting)):
        make_run(name, volume, "test", predict, settings)
    return make_decision(volume, "test", {"candidate": merging}, settings)


def judge(
    volume: Volume, slices: Sequence[int], store: Path, predict: Predict
) -> list[tuple[int, dict[str, float]]]:
    """Write masks of a model and their errors; z and scores of each slice."""

    def results():
        for z in slices:
            truth = volume.labels("neurites", z)
            pred = predict(z, truth)
            errors = list_errors(truth, pred, background=False)
            scores = score_slice(truth, pred, "neurites")
            yield SliceResult(z, volume.image(z), truth, pred, scores, errors)

    kept = keep_predictions(results(), store, volume, slices, {"task": "neurites"})
    return [(each.z, each.scores) for each in kept]


def make_run(
    name: str, volume: Volume, split: str, predict: Predict, settings: Settings
) -> RunDirectory:
    """A run as it is once it was trained, evaluated and mirrored, but for its network."""
    run = RunDirectory(settings.runs_root / name.replace("/", "-"))
    slices = volume.slices(split, "neurites")
    pairs = judge(volume, slices, run.predictions_of(volume.info.name, split), predict)
    describe_run(run, name, volume, split, score_rows(pairs), settings)
    return run


def describe_run(
    run: RunDirectory,
    name: str,
    volume: Volume,
    split: str,
    rows: list[dict[str, object]],
    settings: Settings,
) -> None:
    """Parameters, inputs, scores and mirror of a run whose masks are kept already."""
    run.params_file.write_text(dump_params(Params()))
    digest = folder_digest(volume.path)
    run.inputs_file.write_text(json.dumps({"id": name, "data": [{"digest": digest}]}))
    entry = {
        "key": document_digest([name, split])[:16], "data": volume.info.name, "digest": digest,
        "split": split, "task": "neurites", "step": 1, "means": [], "rows": rows,
    }  # fmt: skip
    run.scores_file.write_text(json.dumps({"sets": [entry]}))
    client = open_client(settings)
    tags = {
        "emsam.task": "neurites", "emsam.model": "unet", "emsam.data": volume.info.name,
        "emsam.data_digest": digest, "emsam.state": "done",
        "emsam.run_directory": str(run.path.absolute()),
    }  # fmt: skip
    client.create_run(experiment_id(client, settings), run_name=name, tags=tags)


def make_decision(
    volume: Volume, split: str, models: dict[str, Predict], settings: Settings, version: int = 1
) -> Decision:
    """A decision to promote version ``version``, whose masks are kept beside it."""
    slices = volume.slices(split, "neurites")
    digest = folder_digest(volume.path)
    decision = Decision(
        verdict="promote", reason="better <b>by far</b>", candidate=f"{MODEL}/{version}",
        champion=None if len(models) == 1 else f"{MODEL}/{version - 1}",
        metric="arand_contest_2d", candidate_score=0.05, champion_score=None,
        data=volume.info.name, digest=digest, split=split,
        judged=({"data": volume.info.name, "digest": digest, "split": split,
                 "slices": slices, "improvement": None},),
    )  # fmt: skip
    stores = {}
    for who, predict in models.items():
        stores[predictions_name(0, who)] = store = settings.home / "judged" / f"{who}.zarr"
        judge(volume, slices, store, predict)
    write_decision(decision, "[]", [], settings.home / "decisions", stores)
    keep_decision(decision, Database(settings), settings)
    client = open_client(settings)
    if not [each for each in client.search_registered_models() if each.name == MODEL]:
        client.create_registered_model(MODEL)
    return decision
