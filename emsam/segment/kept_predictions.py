"""What was predicted on judged slices, kept for people: the ids, and a list of the errors.

Beside each store of predictions ``<name>.zarr`` lies ``<name>.errors.json``::

    {"errors": [{"z", "kind", "y", "x", "area", "severity", "truth": [id …], "pred": [id …]}, …]}

the worst first over all slices.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from emsam.data.predictions import PredictionWriter
from emsam.data.store import Volume
from emsam.documents import whole_folder, write_whole
from emsam.segment.evaluate import SliceResult

MOST_ERRORS = 500
"""Errors of one slice that are kept; a model with more is not judged by looking at each."""
MOST_IDS = 8
"""Objects that are named in one error."""


def keep_predictions(
    results: Iterable[SliceResult],
    store: Path,
    volume: Volume,
    slices: Sequence[int],
    about: dict[str, Any],
) -> Iterator[SliceResult]:
    """Write ids and errors of ``results`` while they pass; both are there when the last has.

    Parameters
    ----------
    store
        The folder ``<name>.zarr``; one that is there stays until the new one is whole.
    slices
        z of the results, in their order.
    about
        What is written into the store: what was predicted, from what.
    """
    errors: list[dict[str, Any]] = []
    store.parent.mkdir(exist_ok=True, parents=True)
    with whole_folder(store) as part:
        writer = PredictionWriter(part, volume.shape[1:], slices, volume.info.voxel_size, about)
        for each in results:
            writer.append(each.z, each.pred)
            errors += [{"z": each.z} | asdict(error) for error in each.errors[:MOST_ERRORS]]
            yield each
        writer.finish()
        for error in errors:
            error["truth"], error["pred"] = error["truth"][:MOST_IDS], error["pred"][:MOST_IDS]
        errors.sort(key=lambda error: -error["severity"])
        write_whole(errors_file(store), json.dumps({"errors": errors}) + "\n")


def errors_file(store: Path) -> Path:
    """Where the errors of a store of predictions are listed."""
    return store.with_suffix(".errors.json")
