from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from iou_tables import iou_table, objects_of
from label_pairs import label_pairs, renamed

from emsam.metrics.average_precision_accuracy import average_precision_accuracy

THRESHOLDS = [0.25, 0.5, 0.75, 1.0]


def most_pairs(left: list[int], good: set[tuple[int, int]], used: frozenset[int]) -> int:
    """Largest one-to-one matching, by trying everything."""
    if not left:
        return 0
    first, *rest = left
    best = most_pairs(rest, good, used)
    for t, p in good:
        if t == first and p not in used:
            best = max(best, 1 + most_pairs(rest, good, used | {p}))
    return best


def accuracy_by_masks(truth: np.ndarray, pred: np.ndarray, threshold: float) -> float:
    good = {pair for pair, iou in iou_table(truth, pred).items() if iou >= Fraction(threshold)}
    hits = most_pairs(objects_of(truth), good, frozenset())
    union = len(objects_of(truth)) + len(objects_of(pred)) - hits
    return hits / union if union else math.nan


@given(label_pairs(), st.sampled_from(THRESHOLDS))
def test_equals_masks_and_trying_all_matchings(
    pair: tuple[np.ndarray, np.ndarray], threshold: float
) -> None:
    got = average_precision_accuracy(*pair, threshold=threshold)
    assert got == pytest.approx(accuracy_by_masks(*pair, threshold), nan_ok=True)


def test_by_hand_with_an_iou_of_exactly_one_half() -> None:
    truth = np.array([[1, 1, 1, 1], [2, 2, 2, 2]])
    pred = np.array([[1, 1, 1, 1], [2, 2, 0, 0]])
    # IoU 4/4 and 2/4. At 0.5 both match: 2 / 2. At 0.75 one: 1 / (1 + 1 FP + 1 FN)
    assert average_precision_accuracy(truth, pred, threshold=0.5) == 1
    assert average_precision_accuracy(truth, pred, threshold=0.75) == pytest.approx(1 / 3)


def test_two_halves_match_one_object_once() -> None:
    # both halves have IoU 1/2 with the object; only one may have it: TP 1, FP 1, FN 0
    truth, pred = np.array([[1, 1, 1, 1]]), np.array([[1, 1, 2, 2]])
    assert average_precision_accuracy(truth, pred) == pytest.approx(1 / 2)


def test_a_merged_pair_matches_one_of_its_objects() -> None:
    # the segment has IoU 1/2 with both objects: TP 1, FP 0, FN 1
    truth, pred = np.array([[1, 1, 2, 2]]), np.array([[1, 1, 1, 1]])
    assert average_precision_accuracy(truth, pred) == pytest.approx(1 / 2)


def test_background_counts_for_nothing() -> None:
    truth = np.zeros((9, 9), int)
    truth[4, 4] = 1
    assert average_precision_accuracy(truth, truth) == 1


def test_empty_images() -> None:
    none, some = np.zeros((2, 2), int), np.eye(2, dtype=int)
    assert math.isnan(average_precision_accuracy(none, none))
    assert average_precision_accuracy(none, some) == 0
    assert average_precision_accuracy(some, none) == 0


@given(label_pairs(), st.integers(0, 9), st.sampled_from(THRESHOLDS))
def test_names_do_not_matter_range_and_identity(
    pair: tuple[np.ndarray, np.ndarray], seed: int, threshold: float
) -> None:
    truth, pred = pair
    value = average_precision_accuracy(truth, pred, threshold=threshold)
    other = average_precision_accuracy(
        renamed(truth, seed), renamed(pred, seed + 1), threshold=threshold
    )
    assert other == pytest.approx(value, nan_ok=True)
    if truth.any():
        assert 0 <= value <= 1
        assert average_precision_accuracy(truth, truth, threshold=threshold) == 1


def test_other_shapes_and_ids_that_are_no_integers_are_refused() -> None:
    ids = np.ones((2, 3), int)
    with pytest.raises(ValueError, match="shape"):
        average_precision_accuracy(ids, ids.T)
    with pytest.raises(ValueError, match="integers"):
        average_precision_accuracy(ids.astype(float), ids)
