"""Trains the peer torch-em on slices of an EM volume and predicts the objects of other slices.

It runs in an environment of its own, see ``_torch_em.txt``, and does not import EM-SAM::

    OMP_NUM_THREADS=1 python benchmarks/_torch_em.py --image image.tif --labels labels.tif \\
        --train 0-45 --predict 46-62 --minutes 8 --task neurites --out predicted.npy

Network, targets, loss, augmentation, trainer and watershed are torch-em's own, with its defaults
wherever it has them. The last of the training slices is held out: the checkpoint that does best on
it predicts. ``--out`` gets int32 ids, (z, y, x), which start anew in each slice.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from torch import nn

STEPS_PER_EPOCH = 50
"""The trainer validates and writes a checkpoint after so many steps."""
SMALLEST = {"target": 25, "predicted": 30}
"""Pixels of the smallest object that is learned, and of the smallest one that is kept."""

_operators: list[torch.library.Library] = []


class TimeIsUp(Exception):
    """Raised after the validation that follows the last step."""


class Deadline:
    """What the trainer takes for a progress bar; it ends the training."""

    def __init__(self, trainer: Any, minutes: float) -> None:
        self.trainer = trainer
        self.end = time.monotonic() + 60 * minutes
        self.total = 0

    def update(self, steps: int) -> None:
        if time.monotonic() >= self.end:
            self.trainer.max_iteration = 0  # the epoch ends at the next step

    def set_description(self, text: str, refresh: bool = True) -> None:
        print(text, file=sys.stderr)
        if self.trainer.max_iteration == 0:
            raise TimeIsUp


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
    parser.add_argument("--precision", choices=["bfloat16", "float32"], default="bfloat16")
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    np.random.seed(arguments.seed)
    declare_missing_operators()
    image, labels = tifffile.imread(arguments.image), tifffile.imread(arguments.labels)
    with redirect_stdout(sys.stderr):  # the trainer prints
        model, report = train(image, labels, arguments)
        objects = [predict(model, image[z]) for z in arguments.predict]
    np.save(arguments.out, np.stack(objects))
    print(json.dumps(report))


def slices(text: str) -> range:
    """``0-45`` as a range with both ends."""
    first, last = map(int, text.split("-"))
    return range(first, last + 1)


def train(
    image: np.ndarray, labels: np.ndarray, arguments: argparse.Namespace
) -> tuple[nn.Module, dict[str, Any]]:
    """The network of the best checkpoint, and what training took."""
    import torch_em
    from torch_em.loss import DistanceLoss
    from torch_em.model import UNet2d

    *learned, held_out = arguments.train
    patch, batch = (arguments.patch, arguments.patch), arguments.batch
    samples = STEPS_PER_EPOCH * batch
    half = arguments.precision != "float32"
    model = UNet2d(1, 3, initial_features=arguments.features, final_activation="Sigmoid")
    with tempfile.TemporaryDirectory() as folder:
        trainer = torch_em.default_segmentation_trainer(
            "peer", model,
            loader(image, labels, learned, patch, batch, n_samples=samples, shuffle=True),
            loader(image, labels, [held_out], image.shape[1:], 1),
            loss=DistanceLoss(), metric=DistanceLoss(), learning_rate=arguments.learning_rate,
            mixed_precision=half, mixed_precision_dtype=arguments.precision if half else None,
            device="cpu", save_root=folder, logger=None,
            compile_model=False,  # compiling takes minutes
        )  # fmt: skip
        began = time.monotonic()
        with suppress(TimeIsUp):
            trainer.fit(epochs=10**6, progress=Deadline(trainer, arguments.minutes))
        seconds, steps = time.monotonic() - began, trainer.iteration
        trainer.load_checkpoint("best")
    return model.eval(), {
        "steps": steps,
        "seconds": seconds,
        "parameters": sum(weights.numel() for weights in model.parameters()),
        "version": torch_em.__version__,
    }


def loader(
    image: np.ndarray, labels: np.ndarray, of: Sequence[int], patch: Sequence[int], batch: int,
    **options: Any,
) -> Any:  # fmt: skip
    """Augmented patches and their targets: foreground, distances to centre and to boundary."""
    from torch_em import default_segmentation_loader
    from torch_em.data.sampler import MinInstanceSampler
    from torch_em.transform.label import PerObjectDistanceTransform

    least = SMALLEST["target"]
    return default_segmentation_loader(
        [image[z] for z in of], None, [labels[z].astype(np.uint32) for z in of], None,
        batch_size=batch, patch_shape=tuple(patch), pin_memory=False,
        label_transform=PerObjectDistanceTransform(min_size=least),
        sampler=MinInstanceSampler(min_num_instances=2, min_size=least),  # one is background
        **options,
    )  # fmt: skip


def predict(model: nn.Module, image: np.ndarray) -> np.ndarray:
    """Ids of one slice, from maps of the whole of it."""
    from torch_em.transform.raw import standardize
    from torch_em.util.prediction import predict_with_padding
    from torch_em.util.segmentation import watershed_from_center_and_boundary_distances

    foreground, center, boundary = predict_with_padding(model, standardize(image), (16, 16))[0]
    objects = watershed_from_center_and_boundary_distances(
        center, boundary, foreground, min_size=SMALLEST["predicted"]
    )
    return objects.astype(np.int32)


def declare_missing_operators() -> None:
    """Lets a torchvision that was built for CUDA import beside a CPU torch."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _operators.append(library)


if __name__ == "__main__":
    main()
