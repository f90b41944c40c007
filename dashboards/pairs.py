"""Two runs on the same slices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dashboards.queries.runs import ScoredSet, find_set
from emsam.metrics.variants import PRIMARY
from emsam.params import GateParams
from emsam.registry.gate_statistics import PairedInterval, paired_interval
from emsam.registry.verdict import improvements


@dataclass(frozen=True)
class Pair:
    """The primary metric of two runs by slice, and how much better B is."""

    metric: str
    a: dict[int, float]
    b: dict[int, float]
    better: PairedInterval


def compare_slices(
    a: list[dict[str, Any]], b: list[dict[str, Any]], scored: ScoredSet
) -> Pair | None:
    """Compare the primary metric; ``None`` unless both were scored on the same slices.

    Parameters
    ----------
    a, b
        Entries of the two runs' ``scores.json``.
    """
    entries = [find_set(sets, **scored._asdict()) for sets in (a, b)]
    if entries[0] is None or entries[1] is None:
        return None
    metric = PRIMARY[entries[0]["task"]]
    first, second = (_by_slice(entry, metric) for entry in entries if entry)
    if first.keys() != second.keys() or not first:
        return None
    as_scores = [{z: {metric: value} for z, value in each.items()} for each in (second, first)]
    better = improvements(metric, *as_scores)
    return Pair(metric, first, second, paired_interval([list(better.values())], GateParams()))


def _by_slice(entry: dict[str, Any], metric: str) -> dict[int, float]:
    return {
        row["z"]: float("nan") if row["value"] is None else row["value"]
        for row in entry["rows"]
        if row["metric"] == metric
    }
