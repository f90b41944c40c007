from __future__ import annotations

import numpy as np
import pytest

from emsam.segment.figures import MERGE_COLOUR, SPLIT_COLOUR, draw_slice


def panels(picture: np.ndarray, width: int) -> list[np.ndarray]:
    """image | truth | prediction | errors, without the gaps."""
    gap = (picture.shape[1] - 4 * width) // 3
    return [picture[:, start : start + width] for start in range(0, 4 * width, width + gap)]


def has(panel: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((panel == colour).all(axis=2).any())


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).random((40, 50)).astype(np.float32)


@pytest.fixture
def halves() -> np.ndarray:
    """Two objects with a membrane between."""
    labels = np.ones((40, 50), np.int32)
    labels[:, 24:26] = 0
    labels[:, 26:] = 2
    return labels


def test_four_panels_in_a_row(image: np.ndarray, halves: np.ndarray) -> None:
    picture = draw_slice(image, halves, halves)
    assert picture.dtype == np.uint8
    assert picture.shape[0] == 40
    assert picture.shape[2] == 3
    assert 4 * 50 <= picture.shape[1] <= 4 * 50 + 60
    grey = panels(picture, 50)[0]
    np.testing.assert_allclose(grey[..., 0], image * 255, atol=1)


def test_the_right_answer_has_no_errors_and_the_colours_of_the_truth(
    image: np.ndarray, halves: np.ndarray
) -> None:
    _, truth, pred, errors = panels(draw_slice(image, halves, halves * 5), 50)
    np.testing.assert_array_equal(truth, pred)
    assert not has(errors, SPLIT_COLOUR)
    assert not has(errors, MERGE_COLOUR)


def test_a_split_is_orange_and_a_merge_is_blue(image: np.ndarray, halves: np.ndarray) -> None:
    one = np.ones_like(halves)
    split = panels(draw_slice(image, one, halves), 50)[3]
    assert has(split, SPLIT_COLOUR)
    assert not has(split, MERGE_COLOUR)
    merge = panels(draw_slice(image, halves, one), 50)[3]
    assert has(merge, MERGE_COLOUR)
    assert not has(merge, SPLIT_COLOUR)


def test_empty_truth_and_prediction(image: np.ndarray) -> None:
    none = np.zeros((40, 50), np.int32)
    for truth, pred in ((none, none), (none, none + 1), (none + 1, none)):
        grey, true, predicted, _ = panels(draw_slice(image, truth, pred), 50)
        for ids, panel in ((truth, true), (pred, predicted)):
            assert np.array_equal(panel, grey) == (not ids.any())


def test_large_ids_are_drawn_too(image: np.ndarray, halves: np.ndarray) -> None:
    truth = halves.astype(np.uint64) * np.uint64(2**45)
    _, true, predicted, errors = panels(draw_slice(image, truth, halves), 50)
    np.testing.assert_array_equal(true, predicted)
    assert not has(errors, SPLIT_COLOUR)
    assert not has(errors, MERGE_COLOUR)
