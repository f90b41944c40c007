from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis.extra import numpy as npst
from scipy.ndimage import label

from emsam.data.catalog.components import ConnectedParts
from emsam.data.readers import open_stack


def parts_of(mask: np.ndarray, path: Path, *, through_slices: bool) -> np.ndarray:
    tifffile.imwrite(path, mask.astype(np.uint8) * 255, photometric="minisblack")
    with ConnectedParts(open_stack(path), through_slices=through_slices) as stack:
        return np.stack(list(stack))


@given(mask=npst.arrays(bool, npst.array_shapes(min_dims=3, max_dims=3, min_side=2, max_side=7)))
def test_as_scipy_labels_the_whole_array(
    mask: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "mask.tif"
    found = parts_of(mask, path, through_slices=True)
    wanted, count = label(mask)
    assert len(np.unique(found[mask])) == count == found.max()
    pairs = np.unique(np.stack([found.ravel(), wanted.ravel()]), axis=1)
    assert len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]
    for plane, of_plane in zip(parts_of(mask, path, through_slices=False), mask, strict=True):
        np.testing.assert_array_equal(plane, label(of_plane)[0])


def test_a_fork_is_one_object_from_its_first_slice_on(tmp_path: Path) -> None:
    mask = np.zeros((3, 4, 9), bool)
    mask[0, 1, 1], mask[0, 1, 7] = True, True
    mask[1, 1, 1:8] = True
    mask[2, 3, 4] = True  # apart
    ids = parts_of(mask, tmp_path / "fork.tif", through_slices=True)
    assert ids[0, 1, 1] == ids[0, 1, 7] == ids[1, 1, 4] != ids[2, 3, 4]
    assert sorted(np.unique(ids)) == [0, 1, 2]
