"""Scores one model package in a process of its own: ``python -m emsam.train.judge JOB OUT``.

JOB is a JSON file that names everything the result depends on, with digests. They are checked
here, in the process that computes, and written into the result, so that the caller can check
what two such processes really saw::

    {"weights": PATH, "params": PATH, "weights_sha256": HEX, "seed": N, "threads": N,
     "volumes": [{"path": PATH, "digest": "<md5>.dir", "slices": [z, …]}, …]}

OUT becomes a folder with ``predictions/<volume>.zarr`` and the errors beside it, ``progress``, the
number of slices that are done, and ``result.json``, which comes last. Bad input is one line on
stderr and exit status 2.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from emsam.data.digest import file_sha256, folder_digest
from emsam.data.store import Volume
from emsam.documents import finite_or_none, write_whole
from emsam.errors import InputError
from emsam.model.folding import fold_norms
from emsam.model.package import load_network
from emsam.params import Params
from emsam.segment.evaluate import evaluate_slices
from emsam.segment.kept_predictions import keep_predictions

_NAN, _INFINITY = "nan", "infinity"


def main(arguments: list[str]) -> int:
    job_file, out = map(Path, arguments)
    try:
        judge(json.loads(job_file.read_text()), out)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def judge(job: dict[str, Any], out: Path) -> None:
    """Score a job's slices and write its result.

    Raises
    ------
    InputError
        Weights or volumes are not those that the job names, or cannot be read.
    """
    torch.set_num_threads(job["threads"])
    torch.manual_seed(job["seed"])
    torch.use_deterministic_algorithms(True, warn_only=True)
    seen = file_sha256(Path(job["weights"]))
    if seen != job["weights_sha256"]:
        raise InputError(f"{job['weights']}: sha256 {seen}, not {job['weights_sha256']}")
    network, params = load_network(Path(job["weights"]), Path(job["params"]))
    model = fold_norms(network)
    out.mkdir()
    counter = itertools.count(1)
    volumes = [_judge_volume(model, params, each, index, out, counter)
               for index, each in enumerate(job["volumes"])]  # fmt: skip
    result = {
        "weights_sha256": seen,
        "device": str(next(model.parameters()).device),
        "torch": torch.__version__,
        "volumes": volumes,
    }
    write_whole(out / "result.json", json.dumps(finite_or_none(result), allow_nan=False))


def _judge_volume(
    model: torch.nn.Module,
    params: Params,
    job: dict[str, Any],
    index: int,
    out: Path,
    counter: Iterator[int],
) -> dict[str, Any]:
    volume = Volume(Path(job["path"]))
    digest = folder_digest(volume.path)
    if digest != job["digest"]:
        raise InputError(f"{volume.path}: data set version {digest}, not {job['digest']}")
    volume.require_task(params.task)
    rows = []
    results = keep_predictions(
        evaluate_slices(model, volume, params, job["slices"], errors=True),
        out / "predictions" / f"{index}.zarr", volume, job["slices"],
        {"digest": digest, "task": params.task},
    )  # fmt: skip
    for each in results:
        objects = int(np.count_nonzero(np.unique(each.pred)))
        scores = {name: _exact(value) for name, value in each.scores.items()}
        rows.append({"z": each.z, "objects": objects, "scores": scores})
        write_whole(out / "progress", str(next(counter)))
    return {"digest": digest, "rows": rows}


def _exact(value: float) -> float | str:
    """A number, or the name of what JSON has no number for."""
    if np.isfinite(value):
        return float(value)
    return _NAN if np.isnan(value) else _INFINITY


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
