"""Scoring of label files."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from emsam.data.checks import check_voxel_size
from emsam.data.readers import Stack, open_stack
from emsam.errors import InputError
from emsam.metrics.score_slice import score_slice
from emsam.metrics.score_volume import score_volume
from emsam.params import TASKS, EvaluateParams, Task
from emsam.progress import Progress
from emsam.segment.evaluate import score_rows, summarize


def score_stacks(
    truth: Path,
    pred: Path,
    task: str,
    *,
    grow: bool,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """``means`` with intervals and ``rows`` per slice of two label files.

    Raises
    ------
    InputError
        A file that cannot be read, an unknown task, ids that are no integers, other shapes.
    """
    with _label_pair(truth, pred, task) as (known, a, b):
        pairs = []
        for z, (true, guess) in enumerate(zip(a, b, strict=True)):
            pairs.append((z, score_slice(true, guess, known, grow=grow)))
            if progress:
                progress(z + 1, a.shape[0])
    return {
        "task": task,
        "dims": "2d",
        "means": summarize(pairs, EvaluateParams()),
        "rows": score_rows(pairs),
    }


def score_stack_3d(
    truth: Path, pred: Path, task: str, *, grow: bool, voxel_size: tuple[float, float, float]
) -> dict[str, Any]:
    """The 3D metric variants of two label files, whose ids go through the slices.

    One volume has one value: ``means`` are these values without an interval, and ``z`` is null
    in ``rows``. Both stacks are held in memory; growing takes 12 bytes a voxel more.

    Parameters
    ----------
    voxel_size
        z, y, x in nm, for growing.

    Raises
    ------
    InputError
        As :func:`score_stacks`, and a voxel size that is not positive.
    """
    check_voxel_size(voxel_size)
    with _label_pair(truth, pred, task) as (known, a, b):
        true, guess = (np.stack(list(stack)) for stack in (a, b))
    scores = score_volume(true, guess, known, grow=grow, voxel_size=voxel_size)
    no_interval = {"low": math.nan, "high": math.nan}
    return {
        "task": task,
        "dims": "3d",
        "voxel_size": list(voxel_size),
        "means": [{"metric": m, "mean": value} | no_interval for m, value in scores.items()],
        "rows": [{"z": None, "metric": m, "value": value} for m, value in scores.items()],
    }


@contextmanager
def _label_pair(truth: Path, pred: Path, task: str) -> Iterator[tuple[Task, Stack, Stack]]:
    """The task and two open label files on one grid."""
    if task not in TASKS:
        raise InputError(f"--task {task}: unknown task; one of {', '.join(TASKS)}")
    known: Task = task
    with open_stack(truth) as a, open_stack(pred) as b:
        if a.shape != b.shape:
            raise InputError(f"{pred}: shape {b.shape}, but {truth} has {a.shape}; give one grid")
        for stack in (a, b):
            if stack.dtype.kind not in "ui":
                raise InputError(f"{stack.name}: dtype {stack.dtype}; instance ids are integers")
        yield known, a, b
