from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from label_pairs import label_pairs, renamed

from emsam.metrics.contingency import Contingency, contingency


def pairs_of(table: Contingency) -> dict[tuple[int, int], int]:
    """(true id, predicted id) → pixels."""
    return {
        (int(table.truth_ids[t]), int(table.pred_ids[p])): int(n)
        for t, p, n in zip(table.truth, table.pred, table.count, strict=True)
    }


def counted(truth: np.ndarray, pred: np.ndarray) -> dict[tuple[int, int], int]:
    return dict(Counter(zip(truth.ravel().tolist(), pred.ravel().tolist(), strict=True)))


@given(label_pairs(), st.integers(0, 9))
def test_equals_counting_pixel_by_pixel(pair: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    truth, pred = pair
    for a, b in (pair, (renamed(truth, seed), pred), (truth - 2, renamed(pred, seed)), pair[::-1]):
        table = contingency(a, b)
        assert pairs_of(table) == counted(a, b)
        assert table.truth_ids.tolist() == sorted(set(a.ravel().tolist()))
        assert table.pred_ids.tolist() == sorted(set(b.ravel().tolist()))


@pytest.mark.parametrize("most", [2, 300, 2**40])
def test_noise_in_which_hardly_two_neighbours_are_alike(most: int) -> None:
    rng = np.random.default_rng(0)
    truth, pred = rng.integers(0, most, (2, 90, 110))
    assert pairs_of(contingency(truth, pred)) == counted(truth, pred)


def test_more_pairs_of_ids_than_a_table_could_hold() -> None:
    truth = np.arange(10_000).reshape(100, 100)
    pred = truth.T.astype(np.uint16)
    table = contingency(truth, pred)
    assert pairs_of(table) == counted(truth, pred)
    assert (table.truth_sizes == 1).all()
    assert (table.pred_sizes == 1).all()


def test_memory_order_does_not_matter() -> None:
    rng = np.random.default_rng(1)
    truth, pred = rng.integers(0, 9, (2, 40, 30))
    views = contingency(np.asfortranarray(truth)[::2, ::-1], pred[::2, ::-1])
    assert pairs_of(views) == counted(truth[::2, ::-1], pred[::2, ::-1])


def test_largest_uint64_and_booleans() -> None:
    truth = np.array([[0, 2**64 - 1, 2**64 - 1, 2**64 - 2]], np.uint64)
    table = contingency(truth, np.array([[False, True, True, False]]))
    assert pairs_of(table) == {(0, 0): 1, (2**64 - 1, 1): 2, (2**64 - 2, 0): 1}


def test_no_pixel_at_all() -> None:
    table = contingency(np.zeros((0, 5), np.uint16), np.zeros((0, 5), np.int64))
    assert len(table.count) == len(table.truth_ids) == len(table.pred_ids) == 0
