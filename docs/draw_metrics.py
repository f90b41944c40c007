"""Draw ``images/metrics-*.png``: what the scores of docs/metrics.md say of toy labels.

::

    python docs/draw_metrics.py

``tests/docs/test_metrics_page.py`` compares the numbers of the page with those of the code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from PIL import Image
from scipy.ndimage import binary_erosion
from scipy.spatial import cKDTree
from skimage.metrics import adapted_rand_error

from emsam.metrics.arand_contest import arand_contest
from emsam.metrics.average_precision_accuracy import average_precision_accuracy
from emsam.metrics.average_precision_coco import average_precision_coco
from emsam.metrics.grow import grow_labels
from emsam.metrics.variation_of_information import variation_of_information
from emsam.segment.figures import overlay

SIZE = 192
IMAGES = Path(__file__).parent / "images"


@dataclass(frozen=True)
class Case:
    """Toy labels: what somebody predicted beside the truth, and what the scores are."""

    picture: str
    title: str
    truth: np.ndarray
    pred: np.ndarray
    scores: Mapping[str, float]

    @property
    def row(self) -> str:
        """The row of the page's table."""
        cells = [f"{value:.2f}" for value in self.scores.values()]
        return f"| {self.title} | {' | '.join(cells)} |"


def main() -> None:
    for picture in ("neurites", "mitochondria"):
        chosen = [each for each in cases() if each.picture == picture]
        figure, axes = plt.subplots(1, len(chosen) + 1, figsize=(2.1 * len(chosen) + 2.1, 2.75))
        _show(axes[0], "truth", chosen[0].truth, "")
        for axis, case in zip(axes[1:], chosen, strict=True):
            lines = [f"{name} {value:.2f}" for name, value in case.scores.items()]
            _show(axis, case.title, case.pred, "\n".join(lines))
        figure.subplots_adjust(0.005, 0.22, 0.995, 0.9, wspace=0.05)
        target = IMAGES / f"metrics-{picture}.png"
        figure.savefig(target, dpi=110)
        plt.close(figure)
        Image.open(target).convert("RGB").quantize(128).save(target, optimize=True)
        print(target, f"{target.stat().st_size / 1e3:.0f} kB")


def _show(axis: plt.Axes, title: str, ids: np.ndarray, text: str) -> None:
    white = np.full((*ids.shape, 3), 235, np.uint8)
    white[ids == 0] = 60
    axis.imshow(overlay(white, ids, opacity=0.8), interpolation="nearest")
    axis.set_title(title, fontsize=9, pad=3)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_xlabel(text, fontsize=7, family="monospace", labelpad=3)


def cases() -> list[Case]:
    """Every picture but the truth itself."""
    cells = _cells()
    thick = _thinner(cells, 3)
    one, other = cells[90, 170], cells[160, 180]  # neighbours, and large
    joined = np.where(cells == one, other, cells)
    middle = np.argwhere(cells == one)[:, 1].mean()
    cut = np.where((cells == one) & (np.arange(SIZE) > middle), cells.max() + 1, cells)
    spots = _ellipses([(48, 50, 22), (60, 140, 16), (140, 92, 26)])
    shifted = np.roll(spots, 7, axis=1)
    small = spots + _ellipses([(20, 96, 7), (100, 28, 7), (150, 160, 7)], first=4)
    large = np.where(spots == 2, 0, spots) + _ellipses([(60, 150, 34)], first=5)
    return [
        *(
            _neurites(title, cells, pred)
            for title, pred in (
                ("membranes too thick", thick),
                ("the same, grown", grow_labels(thick)),
                ("one cell in two", cut),
                ("two cells in one", joined),
            )
        ),
        *(
            _mitochondria(title, spots, pred)
            for title, pred in (
                ("all a little beside", shifted),
                ("three small extra", small),
                ("a large one too large", large),
            )
        ),
    ]


def _neurites(title: str, truth: np.ndarray, pred: np.ndarray) -> Case:
    split, merge = variation_of_information(truth, pred)
    scores = {
        "A-Rand, contest": arand_contest(truth, pred),
        "scikit-image's ": float(adapted_rand_error(truth, pred)[0]),
        "VOI split      ": split,
        "VOI merge      ": merge,
    }
    return Case("neurites", title, truth, pred, scores)


def _mitochondria(title: str, truth: np.ndarray, pred: np.ndarray) -> Case:
    scores = {
        "AP-50 accuracy": average_precision_accuracy(truth, pred, threshold=0.5),
        "AP-50 COCO    ": average_precision_coco(truth, pred, threshold=0.5),
        "AP-75 accuracy": average_precision_accuracy(truth, pred, threshold=0.75),
        "AP-75 COCO    ": average_precision_coco(truth, pred, threshold=0.75),
    }
    return Case("mitochondria", title, truth, pred, scores)


def _cells() -> np.ndarray:
    """Cells of a Voronoi diagram with membranes of three pixels, (y, x) ids from 1."""
    seeds = np.random.default_rng(3).uniform(0, SIZE, (16, 2))
    places = np.mgrid[:SIZE, :SIZE].reshape(2, -1).T
    distance, nearest = cKDTree(seeds).query(places, k=2)
    ids = np.where(distance[:, 1] - distance[:, 0] > 3, nearest[:, 0] + 1, 0)
    return ids.reshape(SIZE, SIZE)


def _thinner(ids: np.ndarray, pixels: int) -> np.ndarray:
    return np.where(binary_erosion(ids > 0, iterations=pixels, border_value=1), ids, 0)


def _ellipses(places: list[tuple[int, int, int]], first: int = 1) -> np.ndarray:
    """Ellipses at (y, x) of a radius along x and two thirds of it along y."""
    y, x = np.mgrid[:SIZE, :SIZE]
    ids = np.zeros((SIZE, SIZE), int)
    for number, (cy, cx, radius) in enumerate(places, first):
        ids[((y - cy) * 1.5) ** 2 + (x - cx) ** 2 < radius**2] = number
    return ids


if __name__ == "__main__":
    main()
