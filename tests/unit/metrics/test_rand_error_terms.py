from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from label_pairs import label_pairs

from emsam.metrics.arand_contest import arand_contest
from emsam.metrics.contingency import contingency
from emsam.metrics.rand_error_terms import rand_error_terms


@given(label_pairs())
def test_the_terms_of_all_objects_add_up_to_the_score(pair: tuple[np.ndarray, np.ndarray]) -> None:
    truth, pred = pair
    terms = rand_error_terms(contingency(truth, pred))
    if not truth.any():
        assert terms.total == 0
        return
    score = (terms.truth.sum() + terms.pred.sum()) / terms.total
    assert score == pytest.approx(arand_contest(truth, pred), abs=1e-12)


def test_a_half_that_is_lost_to_a_neighbour_counts_in_both() -> None:
    truth = np.array([[1, 1, 2, 2]])
    pred = np.array([[7, 7, 7, 8]])
    terms = rand_error_terms(contingency(truth, pred))
    assert terms.total == 2**2 + 2**2 + 3**2 + 1**2
    np.testing.assert_array_equal(terms.truth, [0, 2**2 - 1 - 1])
    np.testing.assert_array_equal(terms.pred, [3**2 - 2**2 - 1, 0])
