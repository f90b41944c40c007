from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from label_pairs import label_pairs, renamed
from skimage.metrics import variation_of_information as skimage_voi

from emsam.metrics.variation_of_information import variation_of_information


def voi_by_pixels(truth: np.ndarray, pred: np.ndarray) -> tuple[float, float]:
    """Mean surprise of a pixel, in bits, by counting all its fellows: O(n²)."""
    pixels = [
        (int(t), int(p)) for t, p in zip(truth.flat, pred.flat, strict=True) if t
    ]  # truth 0 is dropped
    if not pixels:
        return math.nan, math.nan
    split = merge = 0.0
    for t, p in pixels:
        both = sum((t, p) == other for other in pixels)
        split += math.log2(sum(t == a for a, _ in pixels) / both)
        merge += math.log2(sum(p == b for _, b in pixels) / both)
    return split / len(pixels), merge / len(pixels)


@given(label_pairs())
def test_equals_the_surprise_of_each_pixel(pair: tuple[np.ndarray, np.ndarray]) -> None:
    expected = voi_by_pixels(*pair)
    assert variation_of_information(*pair) == pytest.approx(expected, abs=1e-9, nan_ok=True)


def test_split_in_halves_is_one_bit_of_split() -> None:
    # each of 4 pixels: truth says 4 fellows, the pair of ids 2; log2(4/2) = 1 bit
    assert variation_of_information(np.array([[1, 1, 1, 1]]), np.array([[1, 1, 2, 2]])) == (1, 0)


def test_merge_of_four_is_two_bits_of_merge() -> None:
    # four objects of 1 pixel in a segment of 4: log2(4/1) = 2 bits
    assert variation_of_information(np.array([[1, 2, 3, 4]]), np.array([[9, 9, 9, 9]])) == (0, 2)


def test_predicted_background_is_one_segment() -> None:
    # 4 pixels, half of them predicted 0: as if they were split in halves
    assert variation_of_information(np.array([[1, 1, 1, 1]]), np.array([[1, 1, 0, 0]])) == (1, 0)


@given(label_pairs())
def test_agrees_with_scikit_image(pair: tuple[np.ndarray, np.ndarray]) -> None:
    truth, pred = pair
    if truth.any():
        # scikit-image calls them "false splits, false merges"; zeros of the truth are ignored
        splits, merges = skimage_voi(truth, pred, ignore_labels=(0,))
        assert variation_of_information(truth, pred) == pytest.approx((splits, merges), abs=1e-9)


@given(label_pairs(), st.integers(0, 9))
def test_names_of_objects_do_not_matter(pair: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    truth, pred = pair
    other = variation_of_information(renamed(truth, seed), renamed(pred, seed + 1))
    assert other == pytest.approx(variation_of_information(truth, pred), abs=1e-9, nan_ok=True)


@given(label_pairs())
def test_range_identity_and_symmetry(pair: tuple[np.ndarray, np.ndarray]) -> None:
    truth, pred = pair
    if truth.any():
        split, merge = variation_of_information(truth, pred)
        most = math.log2(truth.size) + 1e-9
        assert -1e-9 <= split <= most
        assert -1e-9 <= merge <= most
        assert variation_of_information(truth, truth) == pytest.approx((0, 0), abs=1e-9)
    both = truth * (pred > 0), pred * (truth > 0)  # the same pixels are inside
    if both[0].any():
        swapped = variation_of_information(both[1], both[0])[::-1]
        assert variation_of_information(*both) == pytest.approx(swapped, abs=1e-9)


def test_truth_without_an_object_has_no_score() -> None:
    assert all(
        map(math.isnan, variation_of_information(np.zeros((2, 2), int), np.eye(2, dtype=int)))
    )


def test_big_ids() -> None:
    truth = np.array([[5, 5, 5 + 2**40, 5 + 2**40]], np.uint64)
    assert variation_of_information(truth, truth) == (0, 0)
    assert variation_of_information(truth, np.ones_like(truth)) == (0, 1)


def test_other_shapes_and_ids_that_are_no_integers_are_refused() -> None:
    ids = np.ones((2, 3), int)
    with pytest.raises(ValueError, match="shape"):
        variation_of_information(ids, ids.T)
    with pytest.raises(ValueError, match="integers"):
        variation_of_information(ids, ids.astype(float))
