"""Scores of a volume of label slices, beside scikit-image and a plain matching of objects.

Each slice is scored by A-Rand, VOI and AP at IoU 0.5 and 0.75, both as an accuracy and as COCO
has it. The labels are synthetic: cells around random points, and for the prediction the same
cells shifted and grown until they touch, some of them merged or cut::

    python benchmarks/metrics.py

Ours and the peer take turns, some slices each, so that what disturbs one disturbs the other. The
peer makes what our scores need and no more: ``adapted_rand_error`` and
``variation_of_information`` of scikit-image, intersections by ``np.unique`` of the pairs of ids,
one Hungarian matching a threshold. Both use one thread.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from _table import Row, options, show
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree
from skimage.metrics import adapted_rand_error, variation_of_information
from skimage.segmentation import expand_labels, relabel_sequential

from emsam.metrics.grow import grow_labels
from emsam.metrics.score_slice import score_slice

Pair = tuple[np.ndarray, np.ndarray]
DIFFERENT = 10
"""Slices that are made; a volume repeats them."""
RECALLS = np.linspace(0, 1, 101)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--slices", type=int, default=100)
    parser.add_argument("--side", type=int, default=1024, help="of a slice in pixels")
    parser.add_argument("--objects", type=int, default=300, help="of a slice")
    arguments = parser.parse_args()
    pairs = [
        synthetic_pair(z, arguments.objects, arguments.side)
        for z in range(min(DIFFERENT, arguments.slices))
    ]
    rows = [
        compare("A-Rand, VOI, AP", ours, peer, [grown(p) for p in pairs], arguments),
        compare(
            "the same, ids over 2^32",
            ours,
            relabel_and_peer,
            [far(grown(p)) for p in pairs],
            arguments,
        ),
        compare("growing", grow, expand, pairs, arguments),
    ]
    show(rows, arguments.json, line)


def line(row: Row) -> str:
    return (
        f"{row['name']:62} ours {row['ours']:6.2f} s  peer {row['peer']:6.2f} s  "
        f"ratio {row['ratio']:.3f}, {1 / row['ratio']:.1f} times faster"
    )


def compare(
    what: str,
    ours: Callable[[Pair], Any],
    peer: Callable[[Pair], Any],
    pairs: list[Pair],
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    """Seconds for all slices: each slice is timed by itself, ours and the peer in turn."""
    np.testing.assert_allclose(ours(pairs[0]), peer(pairs[0]), atol=1e-3)
    seconds: tuple[list[float], list[float]] = ([], [])
    for z in range(arguments.slices):
        for function, spent in zip((ours, peer), seconds, strict=True):
            began = time.perf_counter()
            function(pairs[z % len(pairs)])
            spent.append(time.perf_counter() - began)
    median = [statistics.median(spent) for spent in seconds]
    shape = f"{arguments.slices}×{arguments.side}×{arguments.side}, {arguments.objects} objects"
    return {
        "name": f"{what}, {shape}",
        "ours": sum(seconds[0]),
        "peer": sum(seconds[1]),
        "ratio": median[0] / median[1],
        "unit": "s",
        "ours_median_slice": median[0],
        "peer_median_slice": median[1],
    }


def synthetic_pair(seed: int, objects: int, side: int) -> Pair:
    """Truth with membranes of a few pixels, and an imperfect prediction of it; uint32."""
    rng = np.random.default_rng(seed)
    pixels = np.stack(np.mgrid[:side, :side], axis=-1).reshape(-1, 2)
    distance, nearest = cKDTree(rng.random((objects, 2)) * side).query(pixels, k=2)
    cells = (nearest[:, 0] + 1).astype(np.uint32).reshape(side, side)
    depth = (distance[:, 1] - distance[:, 0]).reshape(side, side)
    pred = np.where(depth > 6, cells, 0).astype(np.uint32)
    pred[pred % 10 == 3] -= 1  # merged with another cell
    cut = (pred % 10 == 7) & (pixels[:, 0].reshape(side, side) % 64 > 32)
    pred[cut] += objects
    return np.where(depth > 3, cells, 0).astype(np.uint32), np.roll(pred, 3, axis=1)


def grown(pair: Pair) -> Pair:
    """The prediction as neurites are scored: nothing is 0, so that scikit-image agrees."""
    return pair[0], grow_labels(pair[1])


def far(pair: Pair) -> Pair:
    """The same objects under uint64 ids beyond 2^32."""
    truth, pred = (each.astype(np.uint64) * np.uint64(2**33 + 5) for each in pair)
    return truth, pred


def ours(pair: Pair) -> list[float]:
    """A-Rand, VOI split and merge, then for IoU 0.5 and 0.75 accuracy and COCO."""
    neurites = score_slice(*pair, "neurites", grow=False)
    mitochondria = score_slice(*pair, "mitochondria")
    return [*neurites.values(), *mitochondria.values()]


def peer(pair: Pair) -> list[float]:
    """The same with scikit-image and numpy."""
    truth, pred = pair
    error, _, _ = adapted_rand_error(truth, pred)
    split, merge = variation_of_information(truth, pred, ignore_labels=(0,))
    iou, sizes = iou_matrix(truth, pred)
    return [error, split, merge, *(f(iou, sizes, t) for t in (0.5, 0.75) for f in (accuracy, coco))]


def relabel_and_peer(pair: Pair) -> list[float]:
    """scikit-image makes a table as long as the largest id, so large ids are renamed first."""
    truth, pred = (relabel_sequential(each)[0] for each in pair)
    return peer((truth, pred))


def iou_matrix(truth: np.ndarray, pred: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """IoU (true objects, predicted objects) and the sizes of the predicted objects."""
    width = int(pred.max()) + 1
    codes, counts = np.unique(truth.astype(np.int64) * width + pred.astype(int), return_counts=True)
    shared = np.zeros((int(truth.max()) + 1, width))
    shared[np.divmod(codes, width)] = counts
    true_size, pred_size = shared.sum(axis=1), shared.sum(axis=0)
    rows, columns = true_size > 0, pred_size > 0
    rows[0] = columns[0] = False
    iou = shared / np.maximum(1, true_size[:, None] + pred_size - shared)
    return iou[rows][:, columns], pred_size[columns]


def accuracy(iou: np.ndarray, sizes: np.ndarray, threshold: float) -> float:
    good = iou >= threshold
    hits = good[linear_sum_assignment(good, maximize=True)].sum()
    return float(hits / (sum(iou.shape) - hits))


def coco(iou: np.ndarray, sizes: np.ndarray, threshold: float) -> float:
    """Objects by size, each takes the free true object of the largest IoU."""
    free, hit = iou.copy(), []
    for column in np.argsort(-sizes, kind="stable"):
        row = free[:, column].argmax()
        hit.append(free[row, column] >= threshold)
        if hit[-1]:
            free[row] = 0
    hits = np.cumsum(hit)
    precision = np.maximum.accumulate((hits / np.arange(1, len(hits) + 1))[::-1])[::-1]
    return float(np.append(precision, 0)[np.searchsorted(hits / len(iou), RECALLS)].mean())


def grow(pair: Pair) -> np.ndarray:
    return grow_labels(pair[1])


def expand(pair: Pair) -> np.ndarray:
    return expand_labels(pair[1], distance=np.inf)


if __name__ == "__main__":
    main()
