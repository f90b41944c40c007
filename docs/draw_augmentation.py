"""Draw ``images/augmentation.png``: each change of docs/augmentation.md on the synthetic volume.

::

    python docs/draw_augmentation.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from PIL import Image

from emsam.data.patches import PatchSampler
from emsam.data.store import Volume
from emsam.data.synthetic import synthesize_volume
from emsam.params import AugmentParams
from emsam.segment.figures import overlay
from emsam.train.augment.augmenter import Augmenter

SIZE = 160
STEPS = 24
"""Among these the one is shown that changes the patch most."""
STRONGER: dict[str, float] = {
    "affine": 0.2, "elastic": 24, "slip": 10, "drift": 0.8, "noise": 0.1,
}  # fmt: skip
"""Where the default is too mild to be seen in a small picture."""
COLUMNS = 6
TARGET = Path(__file__).parent / "images" / "augmentation.png"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        volume = synthesize_volume("demo", Path(folder) / "demo", shape=(8, 320, 320))
        pictures = draw_all(volume)
    rows = -(-len(pictures) // COLUMNS)
    figure, axes = plt.subplots(rows, COLUMNS, figsize=(1.75 * COLUMNS, 1.95 * rows))
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (title, picture) in zip(axes.flat, pictures, strict=False):
        axis.imshow(picture, interpolation="nearest")
        axis.set_title(title, fontsize=9, pad=3)
    figure.subplots_adjust(0.005, 0.005, 0.995, 0.965, wspace=0.04, hspace=0.14)
    figure.savefig(TARGET, dpi=100)
    Image.open(TARGET).convert("RGB").quantize(128).save(TARGET, optimize=True)
    print(TARGET, f"{TARGET.stat().st_size / 1e3:.0f} kB")


def draw_all(volume: Volume) -> list[tuple[str, np.ndarray]]:
    """Title and picture of the patch as it is, under each change and under the defaults."""
    names = [name for name in AugmentParams.model_fields if name not in ("flips", "amount")]
    turned = sampler(volume, flips=True).batch(5, 1)
    pictures = [
        ("original", most_changed(volume, AugmentParams(amount=0))),
        ("flips", draw(turned.images[0], turned.labels[0])),
    ]
    for name in names:
        change: dict[str, Any] = {"probability": 1}
        if name in STRONGER:
            change["strength"] = STRONGER[name]
        only = AugmentParams.model_validate(dict.fromkeys(names, 0) | {name: change})
        pictures.append((name, most_changed(volume, only)))
    params = AugmentParams()
    for step in (0, 1):
        batch = sampler(volume, margin=params.margin(SIZE)).batch(step, 1)
        images, ids = Augmenter(params, size=SIZE, seed=1)(batch, step)
        pictures.append(("as often as by default", draw(images[0].numpy(), ids[0].numpy())))
    return pictures


def sampler(volume: Volume, *, margin: int = 0, flips: bool = False) -> PatchSampler:
    return PatchSampler(volume, "neurites", size=SIZE, seed=0, flips=flips, margin=margin)


def most_changed(volume: Volume, params: AugmentParams) -> np.ndarray:
    """One patch, always the same, under the strongest of a few draws."""
    batch = sampler(volume, margin=params.margin(SIZE)).batch(STEPS, 1)
    augmenter = Augmenter(params, size=SIZE, seed=0)
    y, x = batch.corners[0]
    before = batch.images[0, y : y + SIZE, x : x + SIZE]
    drawn = [augmenter(batch, step) for step in range(STEPS)]
    images, ids = max(drawn, key=lambda each: float(np.abs(each[0][0].numpy() - before).mean()))
    return draw(images[0].numpy(), ids[0].numpy())


def draw(image: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Image, and its objects in colours below the diagonal: (y, x, 3) uint8."""
    grey = np.repeat((image * 255).astype(np.uint8)[..., None], 3, axis=2)
    below = np.tri(SIZE, dtype=bool)[..., None]
    return np.where(below, overlay(grey, ids, opacity=0.25), grey)


if __name__ == "__main__":
    main()
