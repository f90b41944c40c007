from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from label_pairs import label_pairs, renamed
from skimage.metrics import adapted_rand_error

from emsam.metrics.arand_contest import arand_contest


def arand_by_pairs(truth: np.ndarray, pred: np.ndarray) -> float:
    """Definition by counting ordered pairs of pixels, each with itself too: O(n²).

    A pixel predicted 0 gets a name of its own: it is alike to itself alone.
    """
    pixels = [
        (int(t), int(p) if p else f"alone {place}")
        for place, (t, p) in enumerate(zip(truth.flat, pred.flat, strict=True))
        if t
    ]
    if not pixels:
        return math.nan
    pairs = [(a, b) for a in pixels for b in pixels]
    alike_in_both = sum(a == b for a, b in pairs)
    alike_in_truth = sum(a[0] == b[0] for a, b in pairs)
    alike_in_pred = sum(a[1] == b[1] for a, b in pairs)
    return 1 - 2 * alike_in_both / (alike_in_truth + alike_in_pred)


@given(label_pairs())
def test_equals_the_count_of_all_pixel_pairs(pair: tuple[np.ndarray, np.ndarray]) -> None:
    assert arand_contest(*pair) == pytest.approx(arand_by_pairs(*pair), abs=1e-12, nan_ok=True)


def test_merge_by_hand() -> None:
    # objects of 2 and 2 pixels in one segment: Σp² = 4 + 4, Σa² = 4 + 4, Σb² = 16
    # 1 − 2·8 / (8 + 16) = 1/3
    assert arand_contest(np.array([[1, 1, 2, 2]]), np.array([[5, 5, 5, 5]])) == pytest.approx(1 / 3)


def test_split_by_hand() -> None:
    # an object of 4 pixels in segments of 1 and 3: Σp² = 1 + 9, Σa² = 16, Σb² = 1 + 9
    # 1 − 2·10 / (16 + 10) = 3/13
    assert arand_contest(np.array([[1, 1, 1, 1]]), np.array([[1, 2, 2, 2]])) == pytest.approx(
        3 / 13
    )


def test_predicted_background_is_pixel_by_pixel_by_hand() -> None:
    # an object of 4 pixels, 2 predicted and 2 missed: Σp² = 4 + 1 + 1 = Σb², Σa² = 16
    # 1 − 2·6 / (16 + 6) = 5/11; as one segment it would be 1 − 2·8 / (16 + 8) = 1/3
    assert arand_contest(np.array([[1, 1, 1, 1]]), np.array([[1, 1, 0, 0]])) == pytest.approx(
        5 / 11
    )


def test_true_background_is_dropped() -> None:
    truth = np.array([[0, 0, 1, 1]])
    assert arand_contest(truth, np.array([[7, 1, 1, 1]])) == 0


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # 0/0 in scikit-image
@given(label_pairs(smallest_pred=1))
def test_agrees_with_scikit_image_where_no_zero_is_predicted(
    pair: tuple[np.ndarray, np.ndarray],
) -> None:
    # scikit-image leaves out the pair of a pixel with itself. With n pixels inside objects and
    # S = Σa² + Σb² its error is (S − 2Σp²) / (S − 2n); the contest's is (S − 2Σp²) / S.
    truth, pred = pair
    inside = truth != 0
    total = sum(int((ids[inside] == each).sum()) ** 2 for ids in pair for each in range(1, 5))
    selves = 2 * int(inside.sum())
    if total > selves:
        expected = adapted_rand_error(truth, pred)[0] * (total - selves) / total
        assert arand_contest(truth, pred) == pytest.approx(expected, abs=1e-12)


def test_agrees_with_scikit_image_on_objects_of_a_usual_size() -> None:
    truth = np.kron(np.arange(1, 17).reshape(4, 4), np.ones((64, 64), int))
    pred = np.kron(np.arange(1, 26).reshape(5, 5), np.ones((52, 52), int))[:256, :256]
    assert arand_contest(truth, pred) == pytest.approx(adapted_rand_error(truth, pred)[0], abs=1e-3)


def test_thin_extra_membranes_cost_little_here_and_much_in_scikit_image() -> None:
    # 16 × 16 objects of 32 × 32 pixels, each predicted without its outermost pixel: 2 px of
    # membrane between neighbours. Here: Σp² = Σb² = 900² + 124, Σa² = 1024² an object, so
    # 1 − 2·810124 / (1048576 + 810124) = 0.128. scikit-image: 256·124 zeros are one segment.
    truth = np.kron(np.arange(1, 257).reshape(16, 16), np.ones((32, 32), int))
    inner = np.zeros((32, 32), int)
    inner[1:-1, 1:-1] = 1
    pred = truth * np.tile(inner, (16, 16))
    assert arand_contest(truth, pred) == pytest.approx(0.1283, abs=1e-4)
    assert adapted_rand_error(truth, pred)[0] > 0.7


@given(label_pairs(), st.integers(0, 9))
def test_names_of_objects_do_not_matter(pair: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    truth, pred = pair
    other = arand_contest(renamed(truth, seed), renamed(pred, seed + 1))
    assert other == pytest.approx(arand_contest(truth, pred), abs=1e-12, nan_ok=True)


@given(label_pairs())
def test_range_and_identity(pair: tuple[np.ndarray, np.ndarray]) -> None:
    truth, pred = pair
    if truth.any():
        assert 0 <= arand_contest(truth, pred) < 1
        assert arand_contest(truth, truth) == pytest.approx(0, abs=1e-12)


def test_truth_without_an_object_has_no_score() -> None:
    assert math.isnan(arand_contest(np.zeros((3, 4), int), np.ones((3, 4), int)))
    assert math.isnan(arand_contest(np.zeros((0, 4), int), np.zeros((0, 4), int)))


def test_empty_prediction_by_hand() -> None:
    # one object of 12 pixels, nothing predicted: Σp² = Σb² = 12, Σa² = 144; 1 − 24/156 = 11/13
    assert arand_contest(np.ones((3, 4), int), np.zeros((3, 4), int)) == pytest.approx(11 / 13)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint32, np.int64, np.uint64, bool])
def test_any_integer_type(dtype: type) -> None:
    labels = np.array([[0, 1], [1, 1]], dtype)
    assert arand_contest(labels, labels) == 0


def test_ids_that_differ_only_beyond_2_to_the_32_are_different_objects() -> None:
    truth = np.array([[1, 1, 1 + 2**32, 1 + 2**32]], np.uint64)
    assert arand_contest(truth, np.array([[1, 1, 2, 2]])) == 0
    assert arand_contest(truth, np.array([[1, 1, 1, 1]])) == pytest.approx(1 / 3)


def test_two_slices_are_one_image_in_3d() -> None:
    # the same ids in both slices: an object of 4 pixels; renamed in the second slice: a split
    truth = np.ones((2, 1, 2), int)
    pred = truth * np.array([1, 2]).reshape(2, 1, 1)
    # Σp² = 4 + 4 = Σb², Σa² = 16; 1 − 16/24 = 1/3
    assert arand_contest(truth, pred) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("truth", "pred"),
    [
        (np.ones((2, 3), int), np.ones((3, 2), int)),
        (np.ones((2, 3), int), np.ones((1, 3), int)),
        (np.ones((2, 3)), np.ones((2, 3), int)),
        (np.ones((2, 3), int), np.ones((2, 3), np.float32)),
    ],
)
def test_other_shapes_and_ids_that_are_no_integers_are_refused(
    truth: np.ndarray, pred: np.ndarray
) -> None:
    with pytest.raises(ValueError, match=r"shape|integers"):
        arand_contest(truth, pred)
