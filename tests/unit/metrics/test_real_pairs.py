"""Every metric on real pairs of labels, beside scikit-image and the definitions in plain loops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from iou_tables import by_size, coco_by_the_book, iou_table, objects_of
from label_pairs import renamed
from scipy.optimize import linear_sum_assignment
from skimage.metrics import adapted_rand_error, contingency_table
from skimage.metrics import variation_of_information as skimage_voi

from emsam.metrics.arand_contest import arand_contest
from emsam.metrics.average_precision_accuracy import average_precision_accuracy
from emsam.metrics.average_precision_coco import average_precision_coco
from emsam.metrics.grow import grow_labels
from emsam.metrics.variation_of_information import variation_of_information

Pair = tuple[np.ndarray, np.ndarray]


def twice_annotated(folder: Path, file: str) -> Pair:
    """The section that two people annotated, one as truth and one as prediction."""
    names = (folder / "names.txt").read_text().split()
    truth, pred = (
        tifffile.imread(folder / file, key=names.index(name))
        for name in ("training0055", "training0055x")
    )
    return truth, pred


def real_pair(name: str, data: Path) -> Pair:
    if name == "CA1 neurites, two annotators":
        return twice_annotated(data / "epfl6_hippocampus", "labels.tif")
    if name == "CA1 mitochondria, two annotators":
        return twice_annotated(data / "epfl6_hippocampus", "mito.tif")
    if name == "VNC, profiles and cells":
        folder = data / "isbi2012_vnc"
        pred, truth = (tifffile.imread(folder / f"{s}.tif", key=5) for s in ("labels", "labels_3d"))
        return truth, pred
    volume = tifffile.imread(data / "fib25_medulla" / "labels_3d.tif", key=range(100, 113))
    return volume[:-1, :120, :140], volume[1:, :120, :140]


@pytest.fixture(
    params=[
        "CA1 neurites, two annotators",
        "CA1 mitochondria, two annotators",
        "VNC, profiles and cells",
        "medulla in 3D, one slice off",
    ]
)
def pair(request: pytest.FixtureRequest, shared_data: Path) -> Pair:
    return real_pair(request.param, shared_data)


def renamed_pair(pair: Pair) -> Pair:
    """The same objects under uint64 ids beyond 2**32, with gaps between them."""
    return renamed(pair[0], 1), renamed(pair[1], 2)


def arand_by_table(truth: np.ndarray, pred: np.ndarray) -> float:
    """The SNEMI3D rule step by step on a dense table; its column 0 is pixels on their own."""
    counts = contingency_table(truth, pred).toarray()[1:]
    alone, segments = counts[:, 0].sum(), counts[:, 1:]
    both = (segments**2).sum() + alone
    precision = both / ((segments.sum(axis=0) ** 2).sum() + alone)
    recall = both / (counts.sum(axis=1) ** 2).sum()
    return 1 - 2 * precision * recall / (precision + recall)


def test_arand_is_the_contest_rule(pair: Pair) -> None:
    expected = arand_by_table(*pair)
    assert 0.001 < expected < 0.9
    assert arand_contest(*pair) == pytest.approx(expected, abs=1e-12)
    assert arand_contest(*renamed_pair(pair)) == pytest.approx(expected, abs=1e-12)


def test_arand_is_scikit_images_where_no_pixel_is_predicted_0(pair: Pair) -> None:
    # scikit-image leaves out the pair of a pixel with itself, which is next to nothing here
    truth, pred = pair[0], grow_labels(pair[1])
    assert arand_contest(truth, pred) == pytest.approx(adapted_rand_error(truth, pred)[0], abs=3e-4)


def test_voi_is_scikit_images(pair: Pair) -> None:
    expected = skimage_voi(*pair, ignore_labels=(0,))
    assert variation_of_information(*pair) == pytest.approx(tuple(expected), abs=1e-9)
    assert variation_of_information(*renamed_pair(pair)) == pytest.approx(tuple(expected), abs=1e-9)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.75])
def test_average_precision_is_that_of_masks(pair: Pair, threshold: float) -> None:
    truth, pred = pair
    table = iou_table(truth, pred)
    rows, columns = objects_of(truth), objects_of(pred)
    good = np.array([[float(table[t, p]) >= threshold for p in columns] for t in rows])
    hits = int(good[linear_sum_assignment(good, maximize=True)].sum())
    accuracy = hits / (len(rows) + len(columns) - hits)
    coco = coco_by_the_book(truth, pred, threshold, by_size(pred))
    assert 0 < accuracy < 1
    for a, b in (pair, renamed_pair(pair)):
        assert average_precision_accuracy(a, b, threshold=threshold) == pytest.approx(accuracy)
    # renaming may change the order of objects of one size, which is the order of their ids
    assert average_precision_coco(truth, pred, threshold=threshold) == pytest.approx(coco)
