from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from label_pairs import label_pairs, renamed

from emsam.metrics.arand_contest import arand_contest
from emsam.metrics.list_errors import list_errors


def two_cells() -> np.ndarray:
    """Cells 1 and 2 of 10 × 20 pixels each, side by side."""
    return np.repeat(np.array([[1] * 20 + [2] * 20]), 10, axis=0)


def flat(labels: np.ndarray) -> np.ndarray:
    """A slice of a stack of label images: its planes one below the other."""
    return labels.reshape(-1, labels.shape[-1])


def test_a_right_prediction_has_no_errors() -> None:
    truth = two_cells()
    assert list_errors(truth, truth + 5, background=True) == []


def test_a_merge_by_hand() -> None:
    truth = two_cells()
    (error,) = list_errors(truth, np.full_like(truth, 7), background=False)
    # both cells have 200 pixels, so either may be the wrong piece; Σa² = 2·200², b² = 400²
    assert (error.kind, error.area, error.truth, error.pred) == ("merge", 200, (1, 2), (7,))
    assert error.severity == pytest.approx((400**2 - 2 * 200**2) / (2 * 200**2 + 400**2))
    assert truth[error.y, error.x] == 2
    assert (error.y, error.x) in {(4, 29), (4, 30), (5, 29), (5, 30)}  # the middle of cell 2


def test_a_split_by_hand() -> None:
    truth = two_cells()
    pred = truth.copy()
    pred[:, 15:20] = 9  # a quarter of cell 1
    (error,) = list_errors(truth, pred, background=False)
    assert (error.kind, error.area, error.truth, error.pred) == ("split", 50, (1,), (1, 9))
    lost = 200**2 - 150**2 - 50**2
    assert error.severity == pytest.approx(lost / (2 * 200**2 + 150**2 + 50**2 + 200**2))
    assert pred[error.y, error.x] == 9


def test_what_is_not_predicted_is_missed() -> None:
    truth = two_cells()
    pred = np.where(truth == 2, 0, truth)
    (error,) = list_errors(truth, pred, background=False)
    assert (error.kind, error.area, error.truth, error.pred) == ("missed", 200, (2,), ())
    assert truth[error.y, error.x] == 2


@pytest.mark.parametrize(("background", "kinds"), [(True, ["extra"]), (False, [])])
def test_an_object_over_background_is_extra_where_background_is_real(
    background: bool, kinds: list[str]
) -> None:
    truth = np.where(two_cells() == 2, 0, 1)
    errors = list_errors(truth, two_cells(), background=background)
    assert [each.kind for each in errors] == kinds
    assert all((each.area, each.pred) == (200, (2,)) for each in errors)


def test_a_boundary_a_little_elsewhere_is_no_error() -> None:
    truth, pred = two_cells(), two_cells()
    pred[:, 20:23] = 1  # 15 % of cell 2
    assert list_errors(truth, pred, background=True) == []
    pred[:, 20:24] = 1  # 20 %
    assert {each.kind for each in list_errors(truth, pred, background=True)} == {"split", "merge"}


def test_a_speck_is_no_piece() -> None:
    truth, pred = two_cells(), two_cells()
    pred[:3, :3] = 9
    assert list_errors(truth, pred, background=True) == []
    assert [e.area for e in list_errors(truth, pred, background=True, smallest=9)] == [9]


def test_the_worst_comes_first() -> None:
    truth = np.kron(np.arange(1, 5).reshape(1, 4), np.ones((20, 20), int))
    pred = truth.copy()
    pred[truth == 2] = 1
    pred[15:, 60:] = 9
    errors = list_errors(truth, pred, background=False)
    assert [each.kind for each in errors] == ["merge", "split"]
    assert errors[0].severity > errors[1].severity


@given(label_pairs(smallest_pred=1))
def test_severities_of_all_errors_add_up_to_the_score(pair: tuple[np.ndarray, np.ndarray]) -> None:
    truth, pred = map(flat, pair)
    errors = list_errors(truth, pred, background=False, share=0, smallest=1)
    if (truth != 0).any():
        total = sum(each.severity for each in errors)
        assert total == pytest.approx(arand_contest(truth, pred), abs=1e-12)
    else:
        assert errors == []


@given(label_pairs(), st.booleans())
def test_every_point_lies_in_its_error(
    pair: tuple[np.ndarray, np.ndarray], background: bool
) -> None:
    truth, pred = map(flat, pair)
    for each in list_errors(truth, pred, background=background, smallest=1):
        here = int(truth[each.y, each.x]), int(pred[each.y, each.x])
        if each.kind in ("split", "merge"):
            assert here[0] in each.truth
            assert here[1] in each.pred
        elif each.kind == "missed":
            assert here == (each.truth[0], 0)
        else:
            assert here == (0, each.pred[0])


@given(label_pairs(smallest_pred=1), st.integers(0, 99))
def test_names_of_objects_do_not_matter(pair: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    truth, pred = map(flat, pair)
    plain = list_errors(truth, pred, background=True, smallest=1)
    other = list_errors(renamed(truth, seed), renamed(pred, seed + 1), background=True, smallest=1)

    def seen(errors: list) -> list:
        return sorted((each.kind, each.area, round(each.severity, 12)) for each in errors)

    assert seen(plain) == seen(other)


@given(label_pairs(smallest_pred=1))
def test_a_split_is_a_merge_the_other_way_round(pair: tuple[np.ndarray, np.ndarray]) -> None:
    truth, pred = (flat(each) + 1 for each in pair)
    there = list_errors(truth, pred, background=False, smallest=1)
    back = list_errors(pred, truth, background=False, smallest=1)
    assert sorted(e.severity for e in there if e.kind == "split") == pytest.approx(
        sorted(e.severity for e in back if e.kind == "merge")
    )
