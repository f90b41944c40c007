"""Scores, pictures and predicted ids of a run on a split, written into its directory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from emsam.data.digest import file_sha256, folder_digest
from emsam.data.store import Volume
from emsam.documents import document_digest, finite_or_none, read_object, write_whole
from emsam.errors import InputError
from emsam.model.folding import fold_norms
from emsam.model.package import load_network
from emsam.params import Params
from emsam.progress import Progress
from emsam.segment.evaluate import SliceResult, evaluate_slices, score_rows, summarize
from emsam.segment.figures import draw_slice
from emsam.segment.kept_predictions import keep_predictions
from emsam.train.run_directory import RunDirectory


def evaluate_run(
    run: RunDirectory, volume: Volume, split: str, progress: Progress | None = None
) -> dict[str, Any]:
    """Evaluate the checkpoint of a run that ``evaluate.checkpoint`` names on a split of a volume.

    Writes an entry into ``scores.json``, ``figures/`` and ``predictions/``. The same checkpoint
    on the same data with the same parameters is not evaluated twice, unless its predictions are
    gone.

    Returns
    -------
    dict
        ``data``, ``digest``, ``split``, ``step``; ``means`` with intervals; ``rows``, one a
        slice and metric variant.

    Raises
    ------
    InputError
        No whole checkpoint, no such split, or no labels of the task.
    """
    checkpoint = run.require().judged_checkpoint()
    weights = checkpoint / "model.safetensors"
    params = run.model_params()
    volume.require_task(params.task)
    slices = volume.slices(split, params.task)
    digest = folder_digest(volume.path)
    key = _key(file_sha256(weights), digest, split, params)
    scores = read_scores(run)
    store = run.predictions_of(volume.info.name, split)
    for entry in scores["sets"]:
        if entry["key"] == key and store.exists():
            return dict(entry)
    model = fold_norms(load_network(weights, checkpoint / "params.yaml")[0])
    results = keep_predictions(
        evaluate_slices(model, volume, params, slices, progress, errors=True),
        store, volume, slices, {"key": key, "digest": digest, "task": params.task},
    )  # fmt: skip
    pairs = _draw(run, store.stem, results, _spread(slices, params.evaluate.figures))
    entry = {
        "key": key,
        "data": volume.info.name,
        "digest": digest,
        "split": split,
        "task": params.task,
        "step": int(checkpoint.name.removeprefix("step-")),
        "means": summarize(pairs, params.evaluate),
        "rows": score_rows(pairs),
    }
    _write_entry(run, scores, entry)
    return dict(finite_or_none(entry))


def read_scores(run: RunDirectory) -> dict[str, Any]:
    """Content of ``scores.json``; without one, no sets."""
    if not run.scores_file.exists():
        return {"sets": []}
    remedy = f"remove it and run 'emsam evaluate {run.path}' again"
    scores = read_object(run.scores_file, remedy)
    if not isinstance(scores.get("sets"), list):
        raise InputError(f"{run.scores_file}: has no scores; {remedy}")
    return scores


def current_scores(run: RunDirectory) -> list[dict[str, Any]]:
    """Entries of ``scores.json`` of the weights and the post-processing as they are now."""
    weights = file_sha256(run.judged_checkpoint() / "model.safetensors")
    params = run.model_params()
    return [
        entry
        for entry in read_scores(run)["sets"]
        if entry["key"] == _key(weights, entry["digest"], entry["split"], params)
    ]


def _key(weights: str, digest: str, split: str, params: Params) -> str:
    parts = [weights, digest, split, params.segment.model_dump(), params.evaluate.model_dump()]
    return document_digest(parts)[:16]


def _write_entry(run: RunDirectory, scores: dict[str, Any], entry: dict[str, Any]) -> None:
    """Add an entry; it takes the place of an older one of the same data set and split."""
    others = [
        each for each in scores["sets"]
        if (each["data"], each["split"]) != (entry["data"], entry["split"])
    ]  # fmt: skip
    document = finite_or_none({"sets": [*others, entry]})
    write_whole(run.scores_file, json.dumps(document, indent=1, allow_nan=False) + "\n")


def _spread(slices: Sequence[int], count: int) -> set[int]:
    """``count`` slices spread evenly."""
    at = np.linspace(0, len(slices) - 1, min(count, len(slices))).round().astype(int)
    return {slices[index] for index in at}


def _draw(
    run: RunDirectory, name: str, results: Iterable[SliceResult], chosen: set[int]
) -> list[tuple[int, dict[str, float]]]:
    """Pictures of the chosen slices; z and scores of all. One slice is in memory at a time."""
    run.figures.mkdir(exist_ok=True)
    for old in run.figures.glob(f"{name}-z*.png"):
        old.unlink()
    pairs = []
    for each in results:
        if each.z in chosen:
            picture = draw_slice(each.image, each.truth, each.pred)
            Image.fromarray(picture).save(run.figures / f"{name}-z{each.z:04d}.png", optimize=True)
        pairs.append((each.z, each.scores))
    return pairs
