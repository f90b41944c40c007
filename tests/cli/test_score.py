"""``emsam score`` on two label files, slice by slice and in 3D."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tifffile

from tests.cli.conftest import Run


@pytest.fixture
def score(typed: Run) -> Callable[..., Any]:
    """Runs the command on two stacks of two slices; returns its document.

    In the first slice two cells touch, and four of six columns are predicted as membrane; the
    second slice is one cell, predicted as it is.
    """
    truth = np.array([[[1, 1, 1, 2, 2, 2]] * 2, [[3] * 6] * 2], np.uint8)
    pred = np.array([[[1, 0, 0, 0, 0, 2]] * 2, [[3] * 6] * 2], np.uint8)
    for name, labels in (("truth.tif", truth), ("pred.tif", pred)):
        tifffile.imwrite(name, labels, photometric="minisblack")

    def run(*options: str) -> Any:
        files = ("--truth", "truth.tif", "--pred", "pred.tif")
        status, out, err = typed("score", *files, *options, "--json")
        assert status == 0, err
        return json.loads(out)

    return run


def mean(document: Any, metric: str) -> float:
    (value,) = [each["mean"] for each in document["means"] if each["metric"] == metric]
    return value


def test_slices_are_the_default(score: Callable[..., Any]) -> None:
    document = score("--task", "neurites")
    assert document["dims"] == "2d"
    assert mean(document, "arand_contest_2d") == 0
    assert {row["z"] for row in document["rows"]} == {0, 1}
    assert mean(score("--task", "neurites", "--no-grow"), "arand_contest_2d") > 0.1


def test_in_3d_the_voxel_size_says_what_is_nearest(score: Callable[..., Any]) -> None:
    flat = score("--task", "neurites", "--dims", "3d", "--voxel-size", "40,4,4")
    assert flat["voxel_size"] == [40, 4, 4]
    assert mean(flat, "arand_contest_3d") == 0
    cubic = score("--task", "neurites", "--dims", "3d")
    assert cubic["voxel_size"] == [1, 1, 1]
    assert mean(cubic, "arand_contest_3d") > 0.1
    assert [row["z"] for row in cubic["rows"]] == [None] * 3


def test_mitochondria_in_3d(score: Callable[..., Any]) -> None:
    document = score("--task", "mitochondria", "--dims", "3d")
    # cells 1 and 2 have IoU 1/3 with their prediction, cell 3 is whole: 1 / (1 + 2 + 2)
    assert mean(document, "ap50_accuracy_3d") == pytest.approx(1 / 5)
    assert mean(document, "ap50_coco_3d") == pytest.approx(34 / 101)
    assert document["means"][0]["low"] is None
