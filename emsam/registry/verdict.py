"""The rule: from the scores of two models on the same slices to a verdict and its reason."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from emsam.metrics.block_bootstrap import block_bootstrap_interval
from emsam.metrics.variants import LOWER_IS_BETTER, PRIMARY
from emsam.params import GateParams, Task
from emsam.registry.decision import INCONCLUSIVE, PROMOTE, REJECT
from emsam.registry.gate_statistics import PairedInterval, paired_interval

VolumeScores = Mapping[int, Mapping[str, float]]
"""Scores by z and metric variant."""


@dataclass(frozen=True)
class MetricComparison:
    """A metric variant of both models.

    Attributes
    ----------
    candidate, champion
        Means over all slices with a number.
    improvement
        Above 0 where the candidate is better, whatever the metric's direction.
    """

    metric: str
    candidate: float
    champion: float
    improvement: PairedInterval


@dataclass(frozen=True)
class Comparison:
    """What a verdict rests on.

    Attributes
    ----------
    metrics
        The primary metric first.
    by_slice
        For each volume the improvement of the primary metric by z; NaN where a slice has none.
    by_volume
        Their means.
    """

    verdict: str
    reason: str
    metrics: tuple[MetricComparison, ...]
    by_slice: tuple[dict[int, float], ...]
    by_volume: tuple[float, ...]


def compare_scores(
    task: Task,
    candidate: Sequence[VolumeScores],
    champion: Sequence[VolumeScores],
    gate: GateParams,
) -> Comparison:
    """Compare two models on the same slices of the same volumes, in the same order.

    Raises
    ------
    ValueError
        The slices differ.
    """
    if [sorted(each) for each in candidate] != [sorted(each) for each in champion]:
        raise ValueError("the two models have scores of different slices")
    names = _metrics_of(task, candidate)
    metrics = tuple(_compare(name, candidate, champion, gate) for name in names)
    pairs = zip(candidate, champion, strict=True)
    by_slice = tuple(improvements(names[0], first, second) for first, second in pairs)
    by_volume = tuple(_mean(list(each.values())) for each in by_slice)
    verdict, reason = REJECT, broken_scores(task, candidate, champion)
    if not reason:
        verdict, reason = _decide(metrics, by_volume, gate)
    return Comparison(verdict, reason, metrics, by_slice, by_volume)


def improvements(metric: str, candidate: VolumeScores, champion: VolumeScores) -> dict[int, float]:
    """How much better the candidate is on each slice, by z.

    Average precision has no number where there is neither a true nor a predicted object. That is
    a faultless slice, and counts as 1 where the other model did predict something.
    """
    sign = -1 if metric in LOWER_IS_BETTER else 1
    faultless = math.nan if metric in LOWER_IS_BETTER else 1.0
    better = {}
    for z in sorted(candidate):
        pair = [candidate[z][metric], champion[z][metric]]
        if any(map(math.isnan, pair)) and not all(map(math.isnan, pair)):
            pair = [faultless if math.isnan(value) else value for value in pair]
        better[z] = sign * (pair[0] - pair[1])
    return better


def broken_scores(
    task: Task, candidate: Sequence[VolumeScores], champion: Sequence[VolumeScores] | None = None
) -> str:
    """Why the candidate's scores cannot be believed; empty if they can.

    They are infinite, or there is none of the primary metric, or A-Rand or VOI lack where the
    champion has them.
    """
    metric = PRIMARY[task]
    if math.isnan(mean_score(candidate, metric)):
        return f"{metric} of the candidate is not a number on any slice"
    for name in _metrics_of(task, candidate):
        for index, z, value in _values(candidate, name):
            lacks = champion is not None and math.isnan(value) and name in LOWER_IS_BETTER
            if math.isinf(value) or (lacks and not math.isnan(champion[index][z][name])):  # type: ignore[index]
                return f"{name} of the candidate is not a finite number on slice {z}"
    return ""


def mean_score(scores: Sequence[VolumeScores], metric: str) -> float:
    """Mean over all slices that have a number; NaN where none has."""
    return _mean([value for _, _, value in _values(scores, metric)])


def score_interval(
    scores: Sequence[VolumeScores], metric: str, gate: GateParams
) -> tuple[float, float]:
    """95 % block-bootstrap interval of :func:`mean_score`; NaN where there are too few slices.

    No block has slices of two volumes.
    """
    apart = gate.block << 32
    places, values = [], []
    for index, z, value in _values(scores, metric):
        places.append(index * apart + z)
        values.append(value)
    _, low, high = block_bootstrap_interval(
        values, places, block=gate.block, resamples=gate.resamples, seed=gate.seed
    )
    return low, high


def _decide(
    metrics: Sequence[MetricComparison], by_volume: Sequence[float], gate: GateParams
) -> tuple[str, str]:
    primary, *others = metrics
    better, name = primary.improvement, primary.metric
    said = (
        f"{name} {primary.candidate:.4f} against {primary.champion:.4f}, better by "
        f"{better.mean:+.4f} ({better.low:+.4f} to {better.high:+.4f})"
    )
    if better.blocks < gate.min_blocks:
        return INCONCLUSIVE, (
            f"too few slices: {better.slices} make {better.blocks} blocks of {gate.block}, at "
            f"least {gate.min_blocks} are needed"
        )
    if better.high < 0:
        return REJECT, f"{said}: it is worse"
    vetoed = [index for index, mean in enumerate(by_volume) if mean < -gate.veto]
    if vetoed:
        return REJECT, (
            f"{name} is worse by {-by_volume[vetoed[0]]:.4f} on volume {vetoed[0] + 1} of "
            f"{len(by_volume)}, the veto is at {gate.veto:g}"
        )
    for each in others:
        margin = getattr(gate.margins, each.metric)
        if each.improvement.mean < -margin:
            return REJECT, (
                f"{each.metric} is worse by {-each.improvement.mean:.4f}, the margin is {margin:g}"
            )
    if better.low > 0:
        return PROMOTE, said
    return INCONCLUSIVE, f"{said}: that may be chance"


def _compare(
    metric: str,
    candidate: Sequence[VolumeScores],
    champion: Sequence[VolumeScores],
    gate: GateParams,
) -> MetricComparison:
    pairs = zip(candidate, champion, strict=True)
    better = [list(improvements(metric, first, second).values()) for first, second in pairs]
    ours, theirs = (mean_score(each, metric) for each in (candidate, champion))
    return MetricComparison(metric, ours, theirs, paired_interval(better, gate))


def _metrics_of(task: Task, scores: Sequence[VolumeScores]) -> list[str]:
    """The primary metric, then the others."""
    first = next(iter(scores[0].values()))
    return sorted(first, key=lambda name: (name != PRIMARY[task], name))


def _values(scores: Sequence[VolumeScores], metric: str) -> Iterator[tuple[int, int, float]]:
    """Volume, slice and value."""
    for index, volume in enumerate(scores):
        for z, values in volume.items():
            yield index, z, values[metric]


def _mean(values: Sequence[float]) -> float:
    """NaN is left out; NaN where nothing is left."""
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan
