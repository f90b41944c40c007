from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from emsam.errors import InputError
from emsam.segment.stacks import score_stack_3d, score_stacks


def test_scores_of_two_files(write_tiff: Callable[..., Path], id_stack: np.ndarray) -> None:
    pred = id_stack.copy()
    pred[4] = 1  # all objects of the last slice merged
    truth_file, pred_file = write_tiff("t.tif", id_stack), write_tiff("p.tif", pred)
    scores = score_stacks(truth_file, pred_file, "neurites", grow=True)
    by_z = {r["z"]: r["value"] for r in scores["rows"] if r["metric"] == "arand_contest_2d"}
    # six equal objects in one segment: 1 − 2·6 / (6 + 36) = 5/7
    assert by_z == pytest.approx({0: 0, 1: 0, 2: 0, 3: 0, 4: 5 / 7})
    (mean,) = [each for each in scores["means"] if each["metric"] == "arand_contest_2d"]
    assert mean["mean"] == pytest.approx(1 / 7)
    assert not math.isnan(mean["low"])


def test_files_that_cannot_be_scored_are_refused(
    write_tiff: Callable[..., Path], id_stack: np.ndarray
) -> None:
    good = write_tiff("good.tif", id_stack)
    short = write_tiff("short.tif", id_stack[:-1])
    grey = write_tiff("float.tif", id_stack.astype(np.float32))
    for wrong in (short, grey, good.with_name("none.tif")):
        with pytest.raises(InputError, match=wrong.name):
            score_stacks(good, wrong, "neurites", grow=True)
    with pytest.raises(InputError, match="dendrites"):
        score_stacks(good, good, "dendrites", grow=True)


def test_scores_of_two_files_in_3d(write_tiff: Callable[..., Path], id_stack: np.ndarray) -> None:
    anew = id_stack + 10 * np.arange(5, dtype=np.uint16).reshape(5, 1, 1) * (id_stack > 0)
    files = write_tiff("t.tif", id_stack), write_tiff("p.tif", anew)
    slices = score_stacks(*files, "neurites", grow=True)
    assert {mean["mean"] for mean in slices["means"]} == {0}
    volume = score_stack_3d(*files, "neurites", grow=True, voxel_size=(30, 8, 8))
    # six objects in five parts each: 1 − 2·5 / (25 + 5); log2(5) bits
    expected = {"arand_contest_3d": 2 / 3, "voi_split_3d": math.log2(5), "voi_merge_3d": 0}
    assert {mean["metric"]: mean["mean"] for mean in volume["means"]} == pytest.approx(expected)
    assert {row["metric"]: row["value"] for row in volume["rows"]} == pytest.approx(expected)
    assert all(math.isnan(mean["low"]) for mean in volume["means"])


def test_what_cannot_be_scored_in_3d_is_refused(
    write_tiff: Callable[..., Path], id_stack: np.ndarray
) -> None:
    good, short = write_tiff("good.tif", id_stack), write_tiff("short.tif", id_stack[:-1])
    with pytest.raises(InputError, match="short"):
        score_stack_3d(good, short, "neurites", grow=True, voxel_size=(1, 1, 1))
    for size in ((30, 0, 8), (math.nan, 8, 8), (30, 8, -8), (math.inf, 8, 8)):
        with pytest.raises(InputError, match="voxel-size"):
            score_stack_3d(good, good, "neurites", grow=True, voxel_size=size)
