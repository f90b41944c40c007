"""Pictures of the slices on which two judged models differ most."""

from __future__ import annotations

import math

from emsam.metrics.variants import PRIMARY
from emsam.registry.decision_page import Picture
from emsam.registry.judgement import Judgement
from emsam.registry.verdict import Comparison
from emsam.segment.evaluate import labelled_objects
from emsam.segment.figures import draw_comparison

_WIDEST = 768
"""Pixels of the longer side of a picture."""


def draw_differences(found: Judgement, compared: Comparison | None, count: int) -> list[Picture]:
    """The ``count`` slices where the models differ most; without a champion the first ones."""
    places = [(index, z) for index, each in enumerate(found.judged) for z in each.slices]
    difference = dict.fromkeys(places, 0.0)
    if compared is not None:
        for index, by_z in enumerate(compared.by_slice):
            difference |= {(index, z): 0.0 if math.isnan(v) else v for z, v in by_z.items()}
    pictures = []
    for index, z in sorted(places, key=lambda place: -abs(difference[place]))[:count]:
        judged = found.judged[index]
        models = [each for each in (found.champion, found.candidate) if each is not None]
        truth = labelled_objects(judged.volume.labels(found.task, z), found.params)
        step = max(1, -(-max(truth.shape) // _WIDEST))
        planes = [judged.volume.image(z), truth, *(each.prediction(index, z) for each in models)]
        image, truth, *preds = (plane[::step, ::step] for plane in planes)
        caption = f"{judged.name}, slice {z}"
        if compared is not None:
            caption += f": {PRIMARY[found.task]} better by {difference[index, z]:+.4f}"
        pixels = draw_comparison(image, truth, preds)
        pictures.append(Picture(f"volume{index + 1}-z{z:04d}.png", caption, pixels))
    return pictures
