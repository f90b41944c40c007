"""Decides whether a candidate deserves to replace the champion."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mlflow.entities.model_registry import ModelVersion

import emsam
from emsam.data.store import Volume
from emsam.documents import finite_or_none
from emsam.params import GateParams
from emsam.progress import Progress
from emsam.registry.clean_process import thread_count
from emsam.registry.client import open_client
from emsam.registry.decision import PROMOTE, REJECT, Decision
from emsam.registry.decision_page import write_decision
from emsam.registry.differences import draw_differences
from emsam.registry.gate_case import admit, open_case
from emsam.registry.judgement import Judgement, score_models
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
    case = open_case(candidate, on, client, settings)
    if case.is_of_champion:
        return replace(case.frame(), verdict=REJECT, reason="it is the champion already")
    known = admit(case, gate, client, settings)
    with tempfile.TemporaryDirectory(prefix="emsam-gate-") as folder:
        found = score_models(
            case.models, case.judged, case.task, settings, gate.seed, Path(folder), progress
        )
        decision, compared = _conclude(known, found, gate)
        kept = _keep(decision, compared, found, gate.figures, settings)
    for file in sorted(kept.iterdir()):
        if file.is_file():  # masks stay here: they can be large, and are made again by deciding
            client.log_artifact(str(candidate.run_id), str(file), f"decisions/{kept.name}")
    return decision


def _keep(
    decision: Decision,
    compared: Comparison | None,
    found: Judgement,
    figures: int,
    settings: Settings,
) -> Path:
    """Write document, scores, page, pictures and masks; returns their folder."""
    pictures = draw_differences(found, compared, figures)
    rows = json.dumps(finite_or_none(found.rows()))
    root = settings.home / "decisions"
    return write_decision(decision, rows, pictures, root, found.predictions())


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
