"""Trains the peer torch-em on slices of an EM volume and predicts the objects of other slices.

It runs in an environment of its own, see ``_torch_em.txt``, and does not import EM-SAM::

    OMP_NUM_THREADS=1 python benchmarks/_torch_em.py --image image.tif --labels labels.tif \\
        --train 0-45 --predict 46-62 --minutes 8 --task neurites --out predicted.npy

Network, targets, loss, augmentation, trainer and watershed are torch-em's own, mostly with its
defaults. The last training slice is held out: the checkpoint that does best on it predicts. The
two thresholds of the watershed are those that do best on four training slices, by the scores of
torch-em's own library; ``--no-tune`` keeps the defaults. ``--out`` gets int32 ids, (z, y, x), which
start anew in each slice.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from torch import nn

try:
    import torchvision  # noqa: F401
except RuntimeError:  # its wheel was built for CUDA, and a CPU torch lacks what it extends
    OPERATORS = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        OPERATORS.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import torch_em
from elf.evaluation import mean_segmentation_accuracy, rand_index
from torch_em.data.sampler import MinInstanceSampler
from torch_em.loss import DistanceLoss
from torch_em.model import UNet2d
from torch_em.transform.label import PerObjectDistanceTransform
from torch_em.transform.raw import standardize
from torch_em.util.prediction import predict_with_padding
from torch_em.util.segmentation import watershed_from_center_and_boundary_distances

STEPS_PER_EPOCH = 50  # then the trainer validates and writes a checkpoint
SMALLEST = {"target": 25, "predicted": 30}  # pixels
THRESHOLDS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # of each distance; torch-em's own is 0.5


class TimeIsUp(Exception): ...


class Deadline:
    """What the trainer takes for a progress bar; it ends the training."""

    def __init__(self, trainer: Any, minutes: float) -> None:
        self.trainer = trainer
        self.end = time.monotonic() + 60 * minutes

    def update(self, steps: int) -> None:
        if time.monotonic() >= self.end:
            self.trainer.max_iteration = 0  # the epoch ends at the next step

    def set_description(self, text: str, refresh: bool = True) -> None:
        print(text, file=sys.stderr)
        if self.trainer.max_iteration == 0:
            raise TimeIsUp  # the last validation is done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image", type=Path, required=True, help="TIFF, uint8, (z, y, x)")
    parser.add_argument("--labels", type=Path, required=True, help="TIFF of ids, 0 is background")
    parser.add_argument("--train", type=slices, default="0-45", help="first and last slice")
    parser.add_argument("--predict", type=slices, default="46-62", help="first and last slice")
    parser.add_argument("--out", type=Path, required=True, help="gets the ids, .npy")
    parser.add_argument("--task", choices=["neurites", "mitochondria"], required=True)
    parser.add_argument("--minutes", type=float, default=8, help="of training")
    parser.add_argument("--patch", type=int, default=256, help="pixels")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--features", type=int, default=16, help="of the first level")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--tune", action=argparse.BooleanOptionalAction, default=True)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    np.random.seed(arguments.seed)
    image, labels = tifffile.imread(arguments.image), tifffile.imread(arguments.labels)
    with redirect_stdout(sys.stderr):  # the trainer prints
        model, report = train(image, labels, arguments)
        of = arguments.train[:: -max(1, len(arguments.train) // 3)] if arguments.tune else []
        seen = [maps(model, image[z]) for z in of]
        best = thresholds(seen, [labels[z] for z in of], arguments.task)
        found = [objects(maps(model, image[z]), *best) for z in arguments.predict]
    np.save(arguments.out, np.stack(found))
    print(json.dumps(report | {"thresholds": best}))


def slices(text: str) -> range:
    """``0-45`` as a range with both ends."""
    first, last = map(int, text.split("-"))
    return range(first, last + 1)


def train(
    image: np.ndarray, labels: np.ndarray, arguments: argparse.Namespace
) -> tuple[nn.Module, dict[str, Any]]:
    """The network of the best checkpoint, and what training took."""
    *learned, held_out = arguments.train
    batch = arguments.batch
    model = UNet2d(1, 3, initial_features=arguments.features, final_activation="Sigmoid")
    with tempfile.TemporaryDirectory() as folder:
        trainer = torch_em.default_segmentation_trainer(
            "peer", model,
            loader(image, labels, learned, (arguments.patch,) * 2, batch, STEPS_PER_EPOCH * batch),
            loader(image, labels, [held_out], image.shape[1:], 1),
            loss=DistanceLoss(), metric=DistanceLoss(), learning_rate=arguments.learning_rate,
            mixed_precision_dtype="bfloat16", device="cpu", save_root=folder, logger=None,
            compile_model=False,  # compiling takes minutes
        )  # fmt: skip
        began = time.monotonic()
        with suppress(TimeIsUp):
            trainer.fit(epochs=10**6, progress=Deadline(trainer, arguments.minutes))
        report = {"steps": trainer.iteration, "seconds": time.monotonic() - began}
        trainer.load_checkpoint("best")
    parameters = sum(weights.numel() for weights in model.parameters())
    return model.eval(), report | {"parameters": parameters, "version": torch_em.__version__}


def loader(
    image: np.ndarray, labels: np.ndarray, of: Sequence[int], patch: Sequence[int], batch: int,
    n_samples: int | None = None,
) -> Any:  # fmt: skip
    """Augmented patches and their targets: foreground, distances to centre and to boundary."""
    least = SMALLEST["target"]  # for the sampler background is an object, too
    return torch_em.default_segmentation_loader(
        [image[z] for z in of], None, [labels[z].astype(np.uint32) for z in of], None,
        batch_size=batch, patch_shape=tuple(patch), pin_memory=False,
        label_transform=PerObjectDistanceTransform(min_size=least),
        sampler=MinInstanceSampler(min_num_instances=2, min_size=least), n_samples=n_samples,
    )  # fmt: skip


def maps(model: nn.Module, image: np.ndarray) -> np.ndarray:
    """Foreground and distances to centre and boundary of one slice; tiles do worse."""
    return predict_with_padding(model, standardize(image), (16, 16))[0]


def objects(predicted: np.ndarray, center: float, boundary: float) -> np.ndarray:
    """Ids of one slice."""
    foreground, to_center, to_boundary = predicted
    found = watershed_from_center_and_boundary_distances(
        to_center, to_boundary, foreground, min_size=SMALLEST["predicted"],
        center_distance_threshold=center, boundary_distance_threshold=boundary,
    )  # fmt: skip
    return found.astype(np.int32)


def thresholds(
    predicted: list[np.ndarray], truth: list[np.ndarray], task: str
) -> tuple[float, float]:
    """Those of the best mean score; torch-em's own where there is no slice to judge by."""

    def score(pair: tuple[float, float]) -> float:
        both = [(objects(each, *pair), true) for each, true in zip(predicted, truth, strict=True)]
        if task == "mitochondria":
            return sum(mean_segmentation_accuracy(found, true) for found, true in both)
        return -sum(rand_index(found, true, ignore_gt=[0])[0] for found, true in both)

    return max(product(THRESHOLDS, THRESHOLDS), key=score) if predicted else (0.5, 0.5)


if __name__ == "__main__":
    main()
