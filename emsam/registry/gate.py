"""Decides whether a candidate deserves to replace the champion."""

from __future__ import annotations

from mlflow.entities.model_registry import ModelVersion

from emsam.data.store import Volume
from emsam.errors import InputError
from emsam.metrics.score_slice import LOWER_IS_BETTER, PRIMARY
from emsam.params import Params
from emsam.registry.client import open_client
from emsam.registry.decision import PROMOTE, REJECT, Decision
from emsam.registry.models import champion_of, open_model
from emsam.settings import Settings


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
