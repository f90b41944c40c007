from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline

from emsam.train.augment.smooth import smooth_field, spline_basis

CPU = torch.device("cpu")


@pytest.mark.parametrize(("knots", "size"), [(4, 32), (5, 64), (9, 50)])
def test_weights_are_those_of_a_cubic_b_spline(knots: int, size: int) -> None:
    weights = spline_basis(knots, size, CPU).numpy()
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
    where = np.linspace(1, knots - 2, size)
    for knot in range(knots):
        spline = BSpline.basis_element(np.arange(knot - 2, knot + 3), extrapolate=False)
        np.testing.assert_allclose(weights[:, knot], np.nan_to_num(spline(where)), atol=1e-6)


def test_a_field_stays_below_its_largest_knot() -> None:
    knots = torch.randn(3, 2, 6, 6)
    field = smooth_field(knots, 40)
    assert field.shape == (3, 2, 40, 40)
    assert (field.abs().amax((2, 3)) <= knots.abs().amax((2, 3))).all()
    torch.testing.assert_close(smooth_field(torch.full((4, 4), 0.3), 16), torch.full((16, 16), 0.3))
