from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
from scipy.ndimage import label

from emsam.metrics.arand_contest import arand_contest
from emsam.params import SegmentParams
from tests.plain_linking import link_slices

OVERLAP = SegmentParams().link_overlap


def linked(stack: np.ndarray, overlap: float = OVERLAP) -> np.ndarray:
    return np.stack([t[ids] for t, ids in zip(link_slices(stack, overlap), stack, strict=True)])


def broken(volume: np.ndarray) -> np.ndarray:
    """True ids, numbered anew in each slice: the 4-connected profiles of each object."""
    slices = []
    for plane in volume:
        out = np.zeros(plane.shape, np.int32)
        for value in np.unique(plane[plane > 0]):
            parts, count = label(plane == value)
            out = np.where(parts > 0, parts + out.max(), out)
            assert count
        slices.append(out)
    return np.stack(slices)


def test_a_tube_that_wanders_stays_one_object() -> None:
    volume = np.zeros((12, 60, 60), np.int32)
    for z in range(12):
        volume[z, 5 + 2 * z : 20 + 2 * z, 5:20] = 1
        volume[z, 5 + 2 * z : 20 + 2 * z, 22:40] = 2
    assert arand_contest(volume, linked(broken(volume))) == 0


def test_a_branch_belongs_to_its_stem() -> None:
    volume = np.zeros((6, 30, 60), np.int32)
    volume[:3, 10:20, 5:55] = 1
    volume[3:, 10:20, 5:28] = 1
    volume[3:, 10:20, 32:55] = 1
    assert len(np.unique(linked(broken(volume)))) == 2


def test_objects_that_barely_overlap_are_two() -> None:
    stack = np.zeros((2, 30, 60), np.int32)
    stack[0, 10:20, 5:32] = 1
    stack[1, 10:20, 30:55] = 1
    assert linked(stack).max() == 2
    assert linked(stack, 0.01).max() == 1


def test_ids_are_dense_and_background_stays() -> None:
    stack = np.random.default_rng(0).integers(0, 5, (5, 20, 20)) * 3  # gaps in the numbering
    out = linked(stack)
    np.testing.assert_array_equal(out == 0, stack == 0)
    assert set(np.unique(out)) == set(range(out.max() + 1))


def test_a_missing_section_does_not_cut() -> None:
    stack = np.ones((5, 10, 10), np.int32)
    stack[2] = 0
    out = linked(stack)
    assert (out[stack > 0] == 1).all()
    assert (out[2] == 0).all()


def test_nothing_to_link() -> None:
    assert link_slices([], OVERLAP) == []
    np.testing.assert_array_equal(linked(np.zeros((3, 4, 4), np.int32)), 0)
    np.testing.assert_array_equal(linked(np.ones((1, 4, 4), np.uint32)), 1)


def test_true_profiles_of_real_tissue_find_each_other(shared_data: Path) -> None:
    volume = tifffile.imread(shared_data / "fib25_medulla" / "labels_3d.tif")[100:160]
    profiles = broken(volume.astype(np.int32))
    numbered = profiles + np.cumsum([0, *(p.max() for p in profiles[:-1])])[:, None, None]
    assert arand_contest(volume, numbered) > 0.9
    assert arand_contest(volume, linked(profiles)) < 0.03
