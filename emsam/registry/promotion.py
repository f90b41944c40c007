"""Decides whether a candidate replaces the champion, and moves the alias."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, dataclass

from mlflow.entities.model_registry import ModelVersion

from emsam.data.store import Volume
from emsam.errors import InputError
from emsam.metrics.score_slice import LOWER_IS_BETTER, PRIMARY
from emsam.params import Params
from emsam.registry.client import open_client
from emsam.registry.models import CHAMPION, PREVIOUS, champion_of, open_model
from emsam.settings import Settings

PROMOTE, REJECT = "promote", "reject"


@dataclass(frozen=True)
class Decision:
    """What was compared, on what, with what result.

    Attributes
    ----------
    candidate, champion
        ``NAME/VERSION``; ``champion`` is ``None`` where there was none.
    metric
        Variant that decides.
    candidate_score, champion_score
        Mean over ``slices``.
    """

    verdict: str
    reason: str
    candidate: str
    champion: str | None
    metric: str
    candidate_score: float
    champion_score: float | None
    data: str
    digest: str
    split: str
    slices: tuple[int, ...]

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)


def decide(
    candidate: ModelVersion, volume: Volume, digest: str, split: str, settings: Settings
) -> Decision:
    """Score candidate and champion again on the same slices, with the same code, and compare.

    Raises
    ------
    InputError
        The volume lacks the split or the labels, or a package is not what was registered.
    """
    if split not in ("val", "test"):
        raise InputError(f"--split {split}: models are compared on val or test slices")
    client = open_client(settings)
    champion = champion_of(client, candidate.name)
    params, score = _score(candidate, volume, split, settings)
    metric = PRIMARY[params.task]
    champion_score = None
    if champion is None:
        verdict, reason = PROMOTE, "there was no champion"
    elif int(champion.version) == int(candidate.version):
        champion_score = score
        verdict, reason = REJECT, "it is the champion already"
    else:
        _, champion_score = _score(champion, volume, split, settings)
        better = score < champion_score if metric in LOWER_IS_BETTER else score > champion_score
        verdict = PROMOTE if better else REJECT
        reason = f"{metric} {score:.4f} against the champion's {champion_score:.4f}"
    if score != score:
        verdict, reason = REJECT, f"{metric} of the candidate is not a number"
    return Decision(
        verdict=verdict,
        reason=reason,
        candidate=f"{candidate.name}/{candidate.version}",
        champion=f"{champion.name}/{champion.version}" if champion else None,
        metric=metric,
        candidate_score=score,
        champion_score=champion_score,
        data=volume.info.name,
        digest=digest,
        split=split,
        slices=tuple(volume.slices(split, params.task)),
    )


def apply_decision(decision: Decision, settings: Settings) -> bool:
    """Keep the decision on the candidate and move ``champion`` as it says.

    Returns
    -------
    bool
        Whether the champion moved.

    Raises
    ------
    InputError
        The champion is no longer the one that the decision was made against.
    """
    client = open_client(settings)
    name, version = decision.candidate.split("/")
    if decision.candidate != decision.champion:
        client.set_model_version_tag(name, version, "emsam.decision", decision.to_json())
        client.set_model_version_tag(name, version, "emsam.decision_sha256", decision.sha256)
    if decision.verdict != PROMOTE:
        return False
    champion = champion_of(client, name)
    now = f"{name}/{champion.version}" if champion else None
    if now == decision.candidate:
        return False
    if now != decision.champion:
        raise InputError(
            f"{name}: the champion is {now}, the decision was made against {decision.champion}; "
            "decide again with 'emsam promote'"
        )
    client.set_model_version_tag(name, version, "emsam.promoted_at", str(int(time.time() * 1000)))
    if champion is not None:
        client.set_registered_model_alias(name, PREVIOUS, champion.version)
    client.set_registered_model_alias(name, CHAMPION, version)
    return True


def _score(
    found: ModelVersion, volume: Volume, split: str, settings: Settings
) -> tuple[Params, float]:
    """Mean of the primary metric of a registered version on a split."""
    import torch

    from emsam.segment.evaluate import evaluate_slices, summarize

    model, params = open_model(f"{found.name}/{found.version}", settings)
    torch.manual_seed(0)
    results = evaluate_slices(model, volume, params, volume.slices(split, params.task))
    means = summarize([(each.z, each.scores) for each in results], params.evaluate)
    return params, next(m["mean"] for m in means if m["metric"] == PRIMARY[params.task])
