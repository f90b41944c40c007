"""Scores of a network on the slices of a split."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from emsam.data.store import Volume
from emsam.metrics.block_bootstrap import block_bootstrap_interval
from emsam.metrics.list_errors import SegmentationError, list_errors
from emsam.metrics.scored_pixels import scored_pixels
from emsam.metrics.task_scores import task_scores
from emsam.params import EvaluateParams, Params
from emsam.progress import Progress
from emsam.segment.instances import make_instances

if TYPE_CHECKING:  # whoever only reads results does not wait for torch
    from torch import nn


@dataclass(frozen=True)
class SliceResult:
    """One slice, segmented and scored.

    Attributes
    ----------
    image
        (y, x) float32 in [0, 1].
    truth, pred
        Instance ids (y, x).
    scores
        By metric variant.
    errors
        The worst first; empty unless they were asked for.
    """

    z: int
    image: np.ndarray
    truth: np.ndarray
    pred: np.ndarray
    scores: dict[str, float]
    errors: Sequence[SegmentationError] = ()


def evaluate_slices(
    model: nn.Module,
    volume: Volume,
    params: Params,
    slices: Sequence[int],
    progress: Progress | None = None,
    *,
    errors: bool = False,
) -> Iterator[SliceResult]:
    """Segment and score ``slices`` one after the other; with ``errors``, list them too."""
    from emsam.segment.predict import predict_maps

    model.eval()
    for done, z in enumerate(slices, start=1):
        image, truth = volume.image(z), volume.labels(params.task, z)
        pred, confidence = make_instances(predict_maps(model, image, params), params)
        by_id = {number: float(value) for number, value in enumerate(confidence, start=1)}
        labelled = labelled_pixels(truth, params)
        pair = scored_pixels(truth, pred, params.task, labelled=labelled)
        scores = task_scores(*pair, params.task, confidence=by_id)
        background = params.task == "mitochondria"  # between neurites it is membrane
        found = list_errors(*pair, background=background) if errors else ()
        yield SliceResult(z, image, labelled_objects(truth, params), pred, scores, found)
        if progress:
            progress(done, len(slices))


def labelled_objects(truth: np.ndarray, params: Params) -> np.ndarray:
    """True ids, 0 where nobody has labelled."""
    labelled = labelled_pixels(truth, params)
    return truth if labelled is None else np.where(labelled, truth, 0)


def labelled_pixels(truth: np.ndarray, params: Params) -> np.ndarray | None:
    """Pixels (y, x) that somebody has labelled; ``None`` where all are."""
    unlabelled = params.targets.unlabelled
    return None if unlabelled is None else truth != unlabelled


def score_rows(pairs: Sequence[tuple[int, dict[str, float]]]) -> list[dict[str, Any]]:
    """A row ``z``, ``metric``, ``value`` for each slice and metric variant."""
    return [
        {"z": z, "metric": metric, "value": value}
        for z, scores in pairs
        for metric, value in scores.items()
    ]


def summarize(
    rows: Sequence[tuple[int, dict[str, float]]], params: EvaluateParams
) -> list[dict[str, Any]]:
    """Mean of each metric variant with its 95 % block-bootstrap interval.

    Parameters
    ----------
    rows
        (z, scores by variant) of each slice.
    """
    means = []
    for metric in rows[0][1] if rows else ():
        values = [scores[metric] for _, scores in rows]
        mean, low, high = block_bootstrap_interval(
            values, [z for z, _ in rows], block=params.block, resamples=params.resamples
        )
        means.append({"metric": metric, "mean": mean, "low": low, "high": high})
    return means
