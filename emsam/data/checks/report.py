"""The report of a check as a JSON document."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from emsam.data.checks.fingerprints import neighbour_correlations
from emsam.data.checks.labels import TaskLabels
from emsam.data.checks.volume import Examination


def report(examination: Examination) -> dict[str, Any]:
    """Everything that was seen, without pictures.

    Keys: those of :class:`~emsam.data.store.VolumeInfo` (``warnings`` are those of the ingest),
    ``path``, ``shape``, ``tasks``; ``findings``; ``slices``, one entry a slice; ``classes``, by
    task; ``compared``, names of the volumes that were searched for copies.
    """
    volume = examination.volume
    return asdict(volume.info) | {
        "path": str(volume.path),
        "shape": volume.shape,
        "tasks": volume.tasks,
        "findings": [asdict(finding) for finding in examination.findings],
        "slices": _slices(examination),
        "classes": {task: _class(seen) for task, seen in examination.seen.tasks.items()},
        "compared": list(examination.compared),
    }


def _slices(examination: Examination) -> list[dict[str, Any]]:
    """Grey values of each slice, and its correlation with the one before (NaN without)."""
    prints = examination.seen.prints("", examination.volume.info.splits)
    together = neighbour_correlations(prints.prints)
    return [
        {
            "z": z,
            "split": str(split),
            "mean": each.mean,
            "contrast": each.contrast,
            "low": each.low,
            "high": each.high,
            "at_low": each.at_low,
            "at_high": each.at_high,
            "neighbour": float(correlation),
        }
        for z, (each, split, correlation) in enumerate(
            zip(examination.seen.slices, prints.split_names, together, strict=True)
        )
    ]


def _class(seen: TaskLabels) -> dict[str, Any]:
    """Statistics of a task; an object of 3D labels counts in each slice that it crosses."""
    areas = np.concatenate(seen.areas)
    quantiles = np.quantile(areas, (0, 0.25, 0.5, 0.75, 1)) if areas.size else [0.0] * 5
    # sizes differ by thousands, so a class of the histogram is twice as wide as the one before
    histogram = np.bincount(np.log2(areas).astype(int)) if areas.size else np.zeros(0, int)
    return {
        "objects": sum(seen.objects),
        "objects_per_slice": seen.objects,
        "labelled": float(np.mean(seen.labelled)),
        "labelled_per_slice": seen.labelled,
        "area_quartiles": [float(value) for value in quantiles],
        "area_histogram": [
            {"from": 2**power, "to": 2 ** (power + 1) - 1, "objects": int(count)}
            for power, count in enumerate(histogram)
            if count
        ],
        "ids_through_slices": seen.through_slices,
    }
