"""Decides whether a candidate deserves to replace the champion."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

import emsam
from emsam.data.digest import folder_digest
from emsam.data.store import Volume
from emsam.documents import finite_or_none
from emsam.errors import InputError
from emsam.metrics.variants import PRIMARY
from emsam.params import TASKS, GateParams, Task
from emsam.progress import Progress
from emsam.registry.clean_process import Judged, thread_count
from emsam.registry.client import open_client
from emsam.registry.decision import PROMOTE, REJECT, Decision
from emsam.registry.decision_page import write_decision
from emsam.registry.differences import draw_differences
from emsam.registry.judgement import Judgement, score_models
from emsam.registry.looks import count_gate_look
from emsam.registry.models import champion_of
from emsam.registry.names import version_name
from emsam.registry.training_slices import learned_by, refuse_overlap
from emsam.registry.verdict import (
    Comparison,
    broken_scores,
    compare_scores,
    mean_score,
    score_interval,
)
from emsam.settings import Settings
from emsam.train.provenance import describe_git, package_versions


def decide(
    candidate: ModelVersion,
    on: Sequence[tuple[Volume, str]],
    settings: Settings,
    gate: GateParams | None = None,
    *,
    progress: Progress | None = None,
) -> Decision:
    """Score candidate and champion again on the same slices, in clean processes, and compare.

    The look at the slices is counted, whatever comes of it. The decision, its page and pictures
    are written to ``<home>/decisions/<sha256, 12 digits>`` and into the candidate's MLflow run;
    the predicted masks stay in the folder.

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
    judged = _judged_slices(on, task)
    known = _frame(candidate, champion, judged, task)
    if champion is not None and int(champion.version) == int(candidate.version):
        return replace(known, verdict=REJECT, reason="it is the champion already")
    models = [candidate] if champion is None else [candidate, champion]
    known = replace(
        known,
        packages=_packages(candidate, champion),
        gate=gate.model_dump(mode="json"),
        notes=(*_notes(judged, champion), *_refuse_learned(models, judged, client, settings)),
        looks=_count_looks(candidate, champion, judged, settings),
    )
    root = settings.home / "decisions"
    with tempfile.TemporaryDirectory(prefix="emsam-gate-") as folder:
        found = score_models(models, judged, task, settings, gate.seed, Path(folder), progress)
        decision, compared = _conclude(known, found, gate)
        pictures = draw_differences(found, compared, gate.figures)
        rows = json.dumps(finite_or_none(found.rows()))
        kept = write_decision(decision, rows, pictures, root, found.predictions())
    for file in sorted(kept.iterdir()):
        if file.is_file():  # masks stay here: they can be large, and are made again by deciding
            client.log_artifact(str(candidate.run_id), str(file), f"decisions/{kept.name}")
    return decision


def _task_of(name: str, settings: Settings) -> Task:
    for task in TASKS:
        if settings.model_name(task) == name:
            return task
    names = ", ".join(settings.model_name(task) for task in TASKS)
    raise InputError(f"{name}: no model of EM-SAM; models are called {names}")


def _judged_slices(on: Sequence[tuple[Volume, str]], task: Task) -> list[Judged]:
    """What is judged on; refused unless each slice counts once."""
    judged = []
    for volume, split in on:
        if split not in ("val", "test"):
            raise InputError(f"--split {split}: models are compared on val or test slices")
        volume.require_task(task)
        slices = tuple(volume.slices(split, task))
        judged.append(Judged(volume, folder_digest(volume.path), split, slices))
    if not judged:
        raise InputError("nothing to judge on; name a volume with --data")
    digests = [each.digest for each in judged]
    for each in judged:
        if digests.count(each.digest) > 1:
            raise InputError(f"--data {each.name}: its slices would count twice; name it once")
    return judged


def _refuse_learned(
    models: Sequence[ModelVersion],
    judged: Sequence[Judged],
    client: MlflowClient,
    settings: Settings,
) -> list[str]:
    """Stop where a model learned from what it is judged on; else what a reader should know."""
    notes = []
    for each in models:
        notes += refuse_overlap(version_name(each), learned_by(each, client), judged, settings)
    return notes


def _count_looks(
    candidate: ModelVersion,
    champion: ModelVersion | None,
    judged: Sequence[Judged],
    settings: Settings,
) -> int:
    """Note this look; how many models were scored on the volume that was looked at most."""
    return max(
        count_gate_look(candidate, champion, each.digest, each.split, settings) for each in judged
    )


def _frame(
    candidate: ModelVersion, champion: ModelVersion | None, judged: Sequence[Judged], task: Task
) -> Decision:
    """The decision, all but its result."""
    return Decision(
        verdict=REJECT,
        reason="",
        candidate=version_name(candidate),
        champion=version_name(champion) if champion else None,
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


def _conclude(
    known: Decision, found: Judgement, gate: GateParams
) -> tuple[Decision, Comparison | None]:
    """Verdict and numbers."""
    known = replace(known, evaluator=_evaluator(found, gate))
    if found.candidate.objects == 0:
        empty = "it predicts no object on any slice"
    else:
        empty = broken_scores(found.task, found.candidate.scores)
    score = mean_score(found.candidate.scores, known.metric)
    if found.champion is None:
        verdict, reason = (REJECT, empty) if empty else (PROMOTE, "there was no champion")
        means = tuple(
            _metric_row(name, found, gate)
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
        champion_score=mean_score(found.champion.scores, known.metric),
        judged=judged,
        metrics=tuple(
            _metric_row(each.metric, found, gate)
            | {"improvement": each.improvement.mean}
            | {key: value for key, value in asdict(each.improvement).items() if key != "mean"}
            for each in compared.metrics
        ),
    )
    return decision, compared


def _metric_row(metric: str, found: Judgement, gate: GateParams) -> dict[str, Any]:
    """Means, with the candidate's interval; there is no improvement without a champion."""
    low, high = score_interval(found.candidate.scores, metric, gate)
    return {
        "metric": metric,
        "candidate": mean_score(found.candidate.scores, metric),
        "candidate_low": low,
        "candidate_high": high,
        "champion": mean_score(found.champion.scores, metric) if found.champion else None,
        "improvement": None,
        "low": None,
        "high": None,
    }


def _packages(candidate: ModelVersion, champion: ModelVersion | None) -> dict[str, Any]:
    """Digest of weights and post-processing of each model."""
    models = {"candidate": candidate} | ({"champion": champion} if champion else {})
    return {who: each.tags.get("emsam.package") for who, each in models.items()}


def _evaluator(found: Judgement, gate: GateParams) -> dict[str, Any]:
    git = describe_git(Path(emsam.__file__).parent)
    return {
        "git": git["commit"],
        "git_dirty": git["dirty"],
        "packages": package_versions(),
        "seed": gate.seed,
        "threads": thread_count(),
        "device": found.candidate.device,
    }
