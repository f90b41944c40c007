from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from iou_tables import by_size, coco_by_the_book, objects_of
from label_pairs import label_pairs, renamed

from emsam.metrics.average_precision_coco import average_precision_coco


@given(label_pairs(), st.sampled_from([0.25, 0.5, 0.75]))
def test_equals_the_rules_in_fractions(
    pair: tuple[np.ndarray, np.ndarray], threshold: float
) -> None:
    truth, pred = pair
    if truth.any() and pred.any():
        expected = coco_by_the_book(truth, pred, threshold, by_size(pred))
        assert average_precision_coco(truth, pred, threshold=threshold) == pytest.approx(expected)


@given(label_pairs(), st.permutations(range(1, 5)))
def test_equals_the_rules_with_confidences(
    pair: tuple[np.ndarray, np.ndarray], order: list[int]
) -> None:
    truth, pred = pair
    if truth.any() and pred.any():
        confidence = {p: 1 - place / 10 for place, p in enumerate(order)}
        present = [p for p in order if p in objects_of(pred)]
        expected = coco_by_the_book(truth, pred, 0.5, present)
        assert average_precision_coco(truth, pred, confidence=confidence) == pytest.approx(expected)


@pytest.fixture
def one_hit_one_false() -> tuple[np.ndarray, np.ndarray]:
    """Objects 1 and 2; prediction 7 is object 1, the larger prediction 8 is nothing."""
    truth = np.array([[1, 1, 0, 2, 2, 0, 0, 0, 0]])
    pred = np.array([[7, 7, 0, 0, 0, 8, 8, 8, 8]])
    return truth, pred


def test_ranked_by_size_by_hand(one_hit_one_false: tuple[np.ndarray, np.ndarray]) -> None:
    # the false one is larger and first: precision 0, then 1/2 at recall 1/2.
    # Recalls 0, 0.01 … 0.50 are 51 of 101: 51 · 0.5 / 101
    assert average_precision_coco(*one_hit_one_false) == pytest.approx(51 * 0.5 / 101)


def test_ranked_by_confidence_by_hand(one_hit_one_false: tuple[np.ndarray, np.ndarray]) -> None:
    # the hit comes first: precision 1 at recall 1/2; 51 · 1 / 101
    got = average_precision_coco(*one_hit_one_false, confidence={7: 0.9, 8: 0.2})
    assert got == pytest.approx(51 / 101)


def test_equal_confidences_keep_the_order_of_ids(
    one_hit_one_false: tuple[np.ndarray, np.ndarray],
) -> None:
    # a tie must not depend on chance: 7 before 8, the same every time
    for confidence in ({8: 0.5, 7: 0.5}, {7: 0.5, 8: 0.5}):
        got = average_precision_coco(*one_hit_one_false, confidence=confidence)
        assert got == pytest.approx(51 / 101)


def test_an_object_without_a_confidence_comes_last(
    one_hit_one_false: tuple[np.ndarray, np.ndarray],
) -> None:
    # confidences may be logits: below 0 is still more than none
    got = average_precision_coco(*one_hit_one_false, confidence={7: -3.0})
    assert got == pytest.approx(51 / 101)


def test_an_object_found_twice_counts_once() -> None:
    # two halves of IoU 1/2: the first has the object (precision 1, recall 1), the second none
    truth, pred = np.array([[1, 1, 1, 1]]), np.array([[1, 1, 2, 2]])
    assert average_precision_coco(truth, pred, threshold=0.5) == 1
    assert average_precision_coco(truth, pred, threshold=0.51) == 0


def test_empty_images() -> None:
    none, some = np.zeros((2, 2), int), np.eye(2, dtype=int)
    assert math.isnan(average_precision_coco(none, none))
    assert average_precision_coco(none, some) == 0
    assert average_precision_coco(some, none) == 0


@given(label_pairs())
def test_range_and_identity(pair: tuple[np.ndarray, np.ndarray]) -> None:
    truth, pred = pair
    if truth.any():
        assert 0 <= average_precision_coco(truth, pred) <= 1
        assert average_precision_coco(truth, truth, threshold=1.0) == 1


@given(label_pairs(), st.integers(0, 9), st.permutations(range(1, 5)))
def test_names_do_not_matter(
    pair: tuple[np.ndarray, np.ndarray], seed: int, order: list[int]
) -> None:
    truth, pred = pair
    other = renamed(pred, seed)
    confidence = {p: place / 10 for place, p in enumerate(order)}
    same = {int(other[pred == p][0]): value for p, value in confidence.items() if (pred == p).any()}
    a = average_precision_coco(truth, pred, confidence=confidence)
    b = average_precision_coco(truth, other, confidence=same)
    assert a == pytest.approx(b, nan_ok=True)


def test_other_shapes_and_ids_that_are_no_integers_are_refused() -> None:
    ids = np.ones((2, 3), int)
    with pytest.raises(ValueError, match="shape"):
        average_precision_coco(ids, ids.T)
    with pytest.raises(ValueError, match="integers"):
        average_precision_coco(ids, ids.astype(float))
