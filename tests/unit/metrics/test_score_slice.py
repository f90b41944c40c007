from __future__ import annotations

import numpy as np
import pytest

from emsam.metrics.score_slice import score_slice
from emsam.metrics.variants import LOWER_IS_BETTER, PRIMARY
from emsam.params import TASKS, Task

NEURITES = {"arand_contest_2d", "voi_split_2d", "voi_merge_2d"}
MITOCHONDRIA = {"ap50_accuracy_2d", "ap75_accuracy_2d", "ap50_coco_2d", "ap75_coco_2d"}


@pytest.fixture
def thick_and_thin() -> tuple[np.ndarray, np.ndarray]:
    """Two objects that touch, and the same with three pixels of membrane on each side."""
    truth = np.repeat(np.arange(1, 3), 10)[None].repeat(8, axis=0)
    pred = truth.copy()
    pred[:, 7:13] = 0
    return truth, pred


def test_neurites_are_grown_until_they_touch(
    thick_and_thin: tuple[np.ndarray, np.ndarray],
) -> None:
    scores = score_slice(*thick_and_thin, "neurites")
    assert set(scores) == NEURITES
    assert all(value == pytest.approx(0) for value in scores.values())


def test_neurites_are_scored_as_they_are_without_growing(
    thick_and_thin: tuple[np.ndarray, np.ndarray],
) -> None:
    scores = score_slice(*thick_and_thin, "neurites", grow=False)
    assert scores["arand_contest_2d"] > 0.1
    assert scores["voi_split_2d"] > 0.1


def test_mitochondria_are_never_grown(thick_and_thin: tuple[np.ndarray, np.ndarray]) -> None:
    # 7 of 10 columns of each object: IoU 0.7, a hit at 0.5 and none at 0.75
    assert score_slice(*thick_and_thin, "mitochondria") == {
        "ap50_accuracy_2d": 1,
        "ap50_coco_2d": 1,
        "ap75_accuracy_2d": 0,
        "ap75_coco_2d": 0,
    }


def test_confidence_ranks_mitochondria() -> None:
    truth = np.array([[1, 1, 0, 0, 0]])
    pred = np.array([[1, 1, 2, 2, 2]])  # 2 is larger and false
    by_size = score_slice(truth, pred, "mitochondria")["ap50_coco_2d"]
    ranked = score_slice(truth, pred, "mitochondria", confidence={1: 0.9, 2: 0.1})["ap50_coco_2d"]
    assert (by_size, ranked) == (pytest.approx(0.5), 1)


def test_objects_whose_every_pixel_is_missed_still_count() -> None:
    truth = np.array([[1, 1, 0, 2, 2, 0, 3, 3]])
    pred = np.array([[1, 1, 0, 0, 0, 0, 0, 0]])
    scores = score_slice(truth, pred, "mitochondria")
    assert scores["ap50_accuracy_2d"] == pytest.approx(1 / 3)
    assert scores["ap50_coco_2d"] == pytest.approx(34 / 101)  # recalls 0, 0.01 … 0.33
    # six pixels in true objects, four of them alone: Σp² = Σb² = 4 + 4, Σa² = 12
    neurites = score_slice(truth, pred, "neurites", grow=False)
    assert neurites["arand_contest_2d"] == pytest.approx(1 - 2 * 8 / (12 + 8))


def test_slices_of_other_shapes_are_refused() -> None:
    ids = np.ones((2, 3), int)
    for task in TASKS:
        with pytest.raises(ValueError, match="shape"):
            score_slice(ids, ids.T, task)


def test_every_task_has_a_primary_metric_among_its_scores() -> None:
    ids = np.eye(4, dtype=np.uint8)
    for task in TASKS:
        scores = score_slice(ids, ids, task)
        assert PRIMARY[task] in scores
        for name, value in scores.items():
            assert value == pytest.approx(0 if name in LOWER_IS_BETTER else 1)


@pytest.mark.parametrize("task", ["neurites", "mitochondria"])
def test_what_nobody_labelled_counts_for_nothing(task: Task) -> None:
    truth = np.zeros((20, 30), np.uint64)
    truth[2:8, 2:9] = 1
    truth[10:18, 4:14] = 2
    nobody = np.uint64(2**60)
    truth[:, 15:] = nobody
    pred = np.where(truth == nobody, 0, truth)
    pred[4:9, 16:28] = 7  # an object where nobody looked
    labelled = truth != nobody
    perfect = score_slice(truth, pred, task, labelled=labelled)
    counted = score_slice(truth, pred, task)
    for metric, value in perfect.items():
        assert value == pytest.approx(0 if metric in LOWER_IS_BETTER else 1)
        assert counted[metric] != pytest.approx(value)
