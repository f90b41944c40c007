from __future__ import annotations

import math

import numpy as np
import pytest

from emsam.params import GateParams
from emsam.registry.verdict import compare_scores, improvements

GATE = GateParams(resamples=1000)
OTHERS = {"voi_split_2d": 0.5, "voi_merge_2d": 0.2}


def neurites(values: list[float], **others: float) -> dict[int, dict[str, float]]:
    """Scores by z with these A-Rand errors."""
    return {z: {"arand_contest_2d": v} | OTHERS | others for z, v in enumerate(values)}


def noisy(mean: float, slices: int = 40) -> list[float]:
    return list(mean + np.random.default_rng(0).normal(0, 0.005, slices))


CHAMPION = [neurites([0.06] * 40)]


def verdict_of(*candidate: dict[int, dict[str, float]]) -> tuple[str, str]:
    champion = [neurites([0.06] * len(each)) for each in candidate]
    found = compare_scores("neurites", candidate, champion, GATE)
    return found.verdict, found.reason


def test_a_clear_improvement_is_promoted_with_its_numbers() -> None:
    verdict, reason = verdict_of(neurites(noisy(0.05)))
    assert verdict == "promote"
    assert reason.startswith("arand_contest_2d 0.0")
    assert "against 0.0600, better by +0.0" in reason


def test_a_clear_loss_is_rejected_and_chance_is_inconclusive() -> None:
    assert verdict_of(neurites(noisy(0.07)))[0] == "reject"
    verdict, reason = verdict_of(neurites(noisy(0.0605)))
    assert verdict == "inconclusive"
    assert "chance" in reason


def test_the_same_scores_are_inconclusive() -> None:
    assert verdict_of(neurites([0.06] * 40))[0] == "inconclusive"


def test_few_slices_are_inconclusive_however_large_the_difference() -> None:
    verdict, reason = verdict_of(neurites([0.001] * 19))
    assert (verdict, reason) == (
        "inconclusive", "too few slices: 19 make 4 blocks of 4, at least 5 are needed"
    )  # fmt: skip
    assert verdict_of(neurites([0.001]))[0] == "inconclusive"


def test_another_metric_beyond_its_margin_rejects() -> None:
    verdict, reason = verdict_of(neurites(noisy(0.05), voi_merge_2d=0.26))
    assert verdict == "reject"
    assert reason == "voi_merge_2d is worse by 0.0600, the margin is 0.05"
    assert verdict_of(neurites(noisy(0.05), voi_merge_2d=0.24))[0] == "promote"


def test_one_volume_beyond_the_veto_rejects_what_is_better_on_the_mean() -> None:
    verdict, reason = verdict_of(neurites(noisy(0.01, 80)), neurites(noisy(0.085, 40)))
    assert verdict == "reject"
    assert "on volume 2 of 2, the veto is at 0.02" in reason


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_numbers_that_are_none_are_never_promoted(broken: float) -> None:
    assert verdict_of(neurites([broken] * 40))[0] == "reject"
    values = noisy(0.01)
    values[7] = broken
    verdict, reason = verdict_of(neurites(values))
    assert verdict == "reject"
    assert "slice 7" in reason


def test_objects_where_there_are_none_count_against_a_model() -> None:
    faultless, invents = ({0: {"ap50_accuracy_2d": v}} for v in (math.nan, 0.0))
    assert improvements("ap50_accuracy_2d", invents, faultless) == {0: -1.0}
    assert improvements("ap50_accuracy_2d", faultless, invents) == {0: 1.0}
    assert math.isnan(improvements("ap50_accuracy_2d", faultless, faultless)[0])


def test_other_slices_are_an_error() -> None:
    with pytest.raises(ValueError, match="different slices"):
        compare_scores("neurites", [neurites([0.1] * 3)], [neurites([0.1] * 4)], GATE)
