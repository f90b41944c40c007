"""Decides whether a candidate deserves to replace the champion."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

import emsam
from emsam.data.digest import folder_digest
from emsam.data.store import Volume
from emsam.documents import finite_or_none
from emsam.errors import InputError
from emsam.metrics.score_slice import PRIMARY
from emsam.params import TASKS, GateParams, Params, Task, load_params
from emsam.progress import Progress
from emsam.registry.clean_process import Judged, Scored, score_package, thread_count
from emsam.registry.client import open_client
from emsam.registry.decision import PROMOTE, REJECT, Decision
from emsam.registry.decision_page import Picture, write_decision
from emsam.registry.looks import count_gate_look
from emsam.registry.models import champion_of, fetch_package
from emsam.registry.training_slices import learned_by, refuse_overlap
from emsam.registry.verdict import Comparison, VolumeScores, broken_scores, compare_scores
from emsam.settings import Settings
from emsam.train.provenance import describe_git, package_versions

_WIDEST = 768
"""Pixels of the longer side of a picture."""


@dataclass(frozen=True)
class _Judgement:
    """What was scored; ``champion`` is ``None`` where there is none."""

    task: Task
    params: Params
    judged: Sequence[Judged]
    candidate: Scored
    champion: Scored | None


def decide(
    candidate: ModelVersion,
    on: Sequence[tuple[Volume, str]],
    settings: Settings,
    gate: GateParams | None = None,
    *,
    progress: Progress | None = None,
) -> Decision:
    """Score candidate and champion again on the same slices, in clean processes, and compare.

    The look at the slices is counted, whatever comes of it. The decision, its page and pictures are
    written to ``<home>/decisions/<sha256, 12 digits>``
    and into the candidate's MLflow run.

    Parameters
    ----------
    on
        Volumes, each with the split (val or test) whose slices decide.
    gate
        The rule; the defaults if ``None``.
    progress
        Told how many slices are scored, of both models together.

    Raises
    ------
    InputError
        A volume lacks the split or the labels, a model has learned from these slices or nobody
        knows what it learned from, a package is not what was registered, or its evaluation fails.
    """
    gate = gate or GateParams()
    client = open_client(settings)
    champion = champion_of(client, candidate.name)
    task = _task_of(candidate.name, settings)
    judged = [_judged(volume, split, task) for volume, split in on]
    _refuse_twice(judged)
    known = _frame(candidate, champion, judged, task)
    if champion is not None and int(champion.version) == int(candidate.version):
        return replace(known, verdict=REJECT, reason="it is the champion already")
    notes = _notes(judged, champion)
    models = [candidate] if champion is None else [candidate, champion]
    for each in models:
        notes += refuse_overlap(_name(each), learned_by(each, client), judged, settings)
    looks = max(
        count_gate_look(candidate, champion, each.digest, each.split, settings) for each in judged
    )
    with tempfile.TemporaryDirectory(prefix="emsam-gate-") as folder:
        found = _score_all(models, judged, task, settings, gate, Path(folder), progress)
        decision, comparison = _conclude(known, found, gate)
        decision = replace(
            decision,
            packages=_packages(candidate, champion),
            looks=looks,
            evaluator=_evaluator(found, gate),
            gate=gate.model_dump(mode="json"),
            notes=tuple(notes),
        )
        pictures = _pictures(found, comparison, gate.figures)
    _keep(decision, found, pictures, settings, client, candidate)
    return decision


def _task_of(name: str, settings: Settings) -> Task:
    for task in TASKS:
        if settings.model_name(task) == name:
            return task
    names = ", ".join(settings.model_name(task) for task in TASKS)
    raise InputError(f"{name}: no model of EM-SAM; models are called {names}")


def _name(version: ModelVersion) -> str:
    return f"{version.name}/{version.version}"


def _judged(volume: Volume, split: str, task: Task) -> Judged:
    if split not in ("val", "test"):
        raise InputError(f"--split {split}: models are compared on val or test slices")
    volume.require_task(task)
    return Judged(volume, folder_digest(volume.path), split, tuple(volume.slices(split, task)))


def _refuse_twice(judged: Sequence[Judged]) -> None:
    if not judged:
        raise InputError("nothing to judge on; name a volume with --data")
    digests = [each.digest for each in judged]
    for each in judged:
        if digests.count(each.digest) > 1:
            raise InputError(f"--data {each.name}: its slices would count twice; name it once")


def _frame(
    candidate: ModelVersion, champion: ModelVersion | None, judged: Sequence[Judged], task: Task
) -> Decision:
    """The decision, all but its result."""
    return Decision(
        verdict=REJECT,
        reason="",
        candidate=_name(candidate),
        champion=_name(champion) if champion else None,
        metric=PRIMARY[task],
        candidate_score=None,
        champion_score=None,
        data=",".join(each.name for each in judged),
        digest=",".join(each.digest for each in judged),
        split=",".join(dict.fromkeys(each.split for each in judged)),
        judged=tuple(
            {"data": each.name, "digest": each.digest, "split": each.split,
             "slices": list(each.slices), "improvement": None}
            for each in judged
        ),
    )  # fmt: skip


def _notes(judged: Sequence[Judged], champion: ModelVersion | None) -> list[str]:
    notes = []
    if champion is None:
        notes.append("there was no champion to compare with: the scores alone were looked at")
    if any(each.split == "val" for each in judged):
        notes.append(
            "decided on validation slices, which chose checkpoints and thresholds of these models: "
            "their scores are flattered"
        )
    return notes


def _score_all(
    models: Sequence[ModelVersion],
    judged: Sequence[Judged],
    task: Task,
    settings: Settings,
    gate: GateParams,
    folder: Path,
    progress: Progress | None,
) -> _Judgement:
    """All models, one after the other, with the same job but for the package."""
    slices = sum(len(each.slices) for each in judged)
    packages = []
    for model in models:
        place = folder / f"package-{model.version}"
        place.mkdir()
        packages.append(fetch_package(model, settings, place))
    params = [load_params(file) for _, file in packages]
    if len({each.targets.unlabelled for each in params}) > 1:
        raise InputError(
            f"{_name(models[0])} and {_name(models[1])} would be scored on other pixels: "
            "targets.unlabelled differs; train the candidate with the champion's value"
        )
    scored = []
    for done, (model, package) in enumerate(zip(models, packages, strict=True)):

        def report(part: int, _: int, before: int = done * slices) -> None:
            if progress:
                progress(before + part, len(models) * slices)

        sha256 = str(model.tags["emsam.weights_sha256"])  # fetch_package has compared it
        place = folder / f"scores-{model.version}"
        scored.append(
            score_package(_name(model), package, sha256, judged, gate.seed, place, report)
        )
    return _Judgement(task, params[0], judged, scored[0], scored[1] if len(scored) > 1 else None)


def _conclude(
    known: Decision, found: _Judgement, gate: GateParams
) -> tuple[Decision, Comparison | None]:
    """Verdict and numbers."""
    if found.candidate.objects == 0:
        empty = "it predicts no object on any slice"
    else:
        empty = broken_scores(found.task, found.candidate.scores)
    score = _mean(found.candidate.scores, known.metric)
    if found.champion is None:
        verdict, reason = (REJECT, empty) if empty else (PROMOTE, "there was no champion")
        means = tuple(
            _metric_row(name, _mean(found.candidate.scores, name))
            for name in next(iter(found.candidate.scores[0].values()))
        )
        return replace(
            known, verdict=verdict, reason=reason, candidate_score=score, metrics=means
        ), None
    compared = compare_scores(found.task, found.candidate.scores, found.champion.scores, gate)
    judged = tuple(
        row | {"improvement": mean}
        for row, mean in zip(known.judged, compared.by_volume, strict=True)
    )
    decision = replace(
        known,
        verdict=REJECT if empty else compared.verdict,
        reason=empty or compared.reason,
        candidate_score=score,
        champion_score=_mean(found.champion.scores, known.metric),
        judged=judged,
        metrics=tuple(
            _metric_row(each.metric, each.candidate, each.champion)
            | {"improvement": each.improvement.mean}
            | {key: value for key, value in asdict(each.improvement).items() if key != "mean"}
            for each in compared.metrics
        ),
    )
    return decision, compared


def _metric_row(metric: str, candidate: float, champion: float | None = None) -> dict[str, Any]:
    row = {"metric": metric, "candidate": candidate, "champion": champion}
    return row | {"improvement": None, "low": None, "high": None}


def _mean(scores: Sequence[VolumeScores], metric: str) -> float:
    values = [values[metric] for volume in scores for values in volume.values()]
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


def _packages(candidate: ModelVersion, champion: ModelVersion | None) -> dict[str, Any]:
    """Digest of weights and post-processing of each model."""
    models = {"candidate": candidate} | ({"champion": champion} if champion else {})
    return {who: each.tags.get("emsam.package") for who, each in models.items()}


def _evaluator(found: _Judgement, gate: GateParams) -> dict[str, Any]:
    git = describe_git(Path(emsam.__file__).parent)
    return {
        "git": git["commit"],
        "git_dirty": git["dirty"],
        "packages": package_versions(),
        "seed": gate.seed,
        "threads": thread_count(),
        "device": found.candidate.device,
    }


def _rows(found: _Judgement) -> str:
    """Every score of both models, as JSON."""
    models = {"candidate": found.candidate} | (
        {"champion": found.champion} if found.champion else {}
    )
    rows = [
        {"model": who, "data": judged.name, "z": z, "metric": metric, "value": value}
        for who, scored in models.items()
        for judged, volume in zip(found.judged, scored.scores, strict=True)
        for z, values in volume.items()
        for metric, value in values.items()
    ]
    return json.dumps(finite_or_none(rows))


def _pictures(found: _Judgement, compared: Comparison | None, count: int) -> list[Picture]:
    """Slices where the models differ most; without a champion the first ones."""
    from emsam.segment.evaluate import labelled_pixels
    from emsam.segment.figures import draw_comparison

    places = [(index, z) for index, each in enumerate(found.judged) for z in each.slices]
    difference = dict.fromkeys(places, 0.0)
    if compared is not None:
        for index, by_z in enumerate(compared.by_slice):
            difference |= {(index, z): 0.0 if math.isnan(v) else v for z, v in by_z.items()}
    pictures = []
    for index, z in sorted(places, key=lambda place: -abs(difference[place]))[:count]:
        judged = found.judged[index]
        models = [each for each in (found.champion, found.candidate) if each is not None]
        truth = judged.volume.labels(found.task, z)
        labelled = labelled_pixels(truth, found.params)
        truth = truth if labelled is None else np.where(labelled, truth, 0)
        step = max(1, -(-max(truth.shape) // _WIDEST))
        planes = [judged.volume.image(z), truth, *(each.prediction(index, z) for each in models)]
        image, truth, *preds = (plane[::step, ::step] for plane in planes)
        caption = f"{judged.name}, slice {z}"
        if compared is not None:
            caption += f": {PRIMARY[found.task]} better by {difference[index, z]:+.4f}"
        pixels = draw_comparison(image, truth, preds)
        pictures.append(Picture(f"volume{index + 1}-z{z:04d}.png", caption, pixels))
    return pictures


def _keep(
    decision: Decision,
    found: _Judgement,
    pictures: list[Picture],
    settings: Settings,
    client: MlflowClient,
    candidate: ModelVersion,
) -> None:
    """On disk and in the candidate's run."""
    folder = write_decision(decision, _rows(found), pictures, settings.home / "decisions")
    client.log_artifacts(str(candidate.run_id), str(folder), f"decisions/{folder.name}")
