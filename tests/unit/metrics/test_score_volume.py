from __future__ import annotations

import math

import numpy as np
import pytest
from label_pairs import renamed

from emsam.metrics.score_volume import score_volume
from emsam.metrics.variants import LOWER_IS_BETTER
from emsam.params import TASKS

NEURITES = {"arand_contest_3d", "voi_split_3d", "voi_merge_3d"}
MITOCHONDRIA = {"ap50_accuracy_3d", "ap75_accuracy_3d", "ap50_coco_3d", "ap75_coco_3d"}


@pytest.fixture
def columns() -> np.ndarray:
    """Four objects of 4 × 3 × 5 voxels that go through all slices and touch."""
    return np.broadcast_to(np.arange(20) // 5 + 1, (4, 3, 20)).copy()


@pytest.mark.parametrize(
    ("task", "names"), [("neurites", NEURITES), ("mitochondria", MITOCHONDRIA)]
)
def test_a_perfect_volume(columns: np.ndarray, task: str, names: set[str]) -> None:
    scores = score_volume(columns, renamed(columns, 1), task)  # type: ignore[arg-type]
    assert set(scores) == names
    assert scores == {name: 0 if name in LOWER_IS_BETTER else 1 for name in names}


def test_ids_that_change_from_slice_to_slice_are_splits(columns: np.ndarray) -> None:
    pred = columns + 4 * np.arange(4).reshape(4, 1, 1)
    scores = score_volume(columns, pred, "neurites")
    # each object of n = 4m voxels in four parts: Σp² = Σb² = 4m², Σa² = 16m²; log2(4) bits
    assert scores == pytest.approx(
        {"arand_contest_3d": 1 - 8 / 20, "voi_split_3d": 2, "voi_merge_3d": 0}
    )
    assert set(score_volume(columns, pred, "mitochondria").values()) == {0}


def test_growing_measures_in_nm() -> None:
    # a gap of two voxels in x between object 1 and object 2, and below it object 3
    truth = np.array([[[1, 1, 1, 2, 2, 2]], [[3, 3, 3, 3, 3, 3]]])
    pred = np.array([[[1, 0, 0, 0, 0, 2]], [[3, 3, 3, 3, 3, 3]]])
    flat, cubic = (
        score_volume(truth, pred, "neurites", voxel_size=size)["arand_contest_3d"]
        for size in ((40.0, 4.0, 4.0), (4.0, 4.0, 4.0))
    )
    assert flat == 0
    assert cubic > 0.1  # two voxels between are as near to object 3 as to their own, or nearer
    assert score_volume(truth, pred, "neurites", grow=False)["arand_contest_3d"] > 0.1


def test_empty_volumes(columns: np.ndarray) -> None:
    none = np.zeros_like(columns)
    assert all(map(math.isnan, score_volume(none, columns, "neurites").values()))
    assert all(map(math.isnan, score_volume(none, none, "mitochondria").values()))
    assert set(score_volume(columns, none, "mitochondria").values()) == {0}
    # nothing to grow: Σp² = Σb² = 240, Σa² = 4 · 60²; all one segment to VOI: 2 bits of merge
    assert score_volume(columns, none, "neurites") == pytest.approx(
        {"arand_contest_3d": 1 - 480 / (14400 + 240), "voi_split_3d": 0, "voi_merge_3d": 2}
    )


def test_confidence_ranks_in_3d_too() -> None:
    truth = np.array([[[1, 1, 0, 0, 0]]])
    pred = np.array([[[1, 1, 2, 2, 2]]])  # 2 is larger and false
    assert score_volume(truth, pred, "mitochondria")["ap50_coco_3d"] == pytest.approx(0.5)
    ranked = score_volume(truth, pred, "mitochondria", confidence={1: 0.9, 2: 0.1})
    assert ranked["ap50_coco_3d"] == 1


def test_other_shapes_are_refused(columns: np.ndarray) -> None:
    for task in TASKS:
        with pytest.raises(ValueError, match="shape"):
            score_volume(columns, columns[:3], task)
