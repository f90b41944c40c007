"""TIFF stacks in, TIFF stacks out: segmenting and scoring of files."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from torch import nn

from emsam.data.checks import check_grids, check_voxel_size
from emsam.data.readers import TIFF_SUFFIXES, Stack, as_unsigned, open_stack
from emsam.data.store import intensity_range, rescale, sample_grey
from emsam.errors import InputError
from emsam.metrics.score_slice import score_slice
from emsam.metrics.score_volume import score_volume
from emsam.params import TASKS, EvaluateParams, Params, Task
from emsam.progress import Progress
from emsam.segment.evaluate import score_rows, summarize
from emsam.segment.instances import make_instances
from emsam.segment.link import link_slices
from emsam.segment.predict import predict_maps


def stack_output(out: Path, overwrite: bool) -> None:
    """Refuse an output that cannot be written, before any work.

    Raises
    ------
    InputError
        Another format, no such folder, or a file that is there already.
    """
    if out.suffix.lower() not in TIFF_SUFFIXES:
        raise InputError(f"{out}: instance ids are written as .tif; choose such a name")
    if not out.parent.is_dir():
        raise InputError(f"{out}: no folder {out.parent}; make it first")
    if out.exists() and not overwrite:
        raise InputError(f"{out}: exists already; choose another name or add --overwrite")


def segment_stack(
    model: nn.Module,
    image: Path,
    out: Path,
    params: Params,
    progress: Progress | None = None,
    *,
    link: bool = False,
) -> int:
    """Segment a stack slice by slice; returns the number of objects.

    ``out`` appears when it is whole: uint32 ids. They are numbered anew in each slice, or with
    ``link`` one id means one object through the stack.

    Raises
    ------
    InputError
        An image that cannot be read, or values that are not finite.
    """
    temporary = out.with_name(f".{out.name}.{os.getpid()}.part")
    with as_unsigned(open_stack(image)) as stack:
        check_grids(stack, {})
        intensity = _stack_intensity(stack)

        def segmented() -> Iterator[np.ndarray]:
            for z, plane in enumerate(stack):
                maps = predict_maps(model, rescale(plane, intensity), params)
                yield make_instances(maps, params)[0]
                if progress:
                    progress(z + 1, stack.shape[0])

        try:
            count = _write_ids(temporary, segmented())
            if link:
                count = _link_file(temporary, params.segment.link_overlap)
            temporary.replace(out)
        finally:
            temporary.unlink(missing_ok=True)
    return count


def _link_file(path: Path, overlap: float) -> int:
    """Replace the ids of each slice of a file by ids of the volume; returns the objects."""
    linked = path.with_name(f"{path.name}.linked")
    try:
        with tifffile.TiffFile(path) as file:
            tables = link_slices((page.asarray() for page in file.pages), overlap)
            pages = zip(tables, file.pages, strict=True)
            _write_ids(linked, (table[page.asarray()] for table, page in pages))
        linked.replace(path)
    finally:
        linked.unlink(missing_ok=True)
    return max(int(table.max()) for table in tables)


def _write_ids(path: Path, slices: Iterable[np.ndarray]) -> int:
    """Write ids as pages of a TIFF; returns the sum of the slices' largest."""
    count = 0
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        for ids in slices:
            count += int(ids.max())
            writer.write(ids.astype(np.uint32), compression="zlib", metadata=None)
    return count


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


def _stack_intensity(stack: Any) -> tuple[float, float]:
    """Grey range of a whole stack; 8-bit needs no look at it."""
    if stack.dtype == np.uint8:
        return intensity_range(stack.dtype, np.empty(0))
    samples = []
    for z, plane in enumerate(stack):
        if not np.isfinite(plane).all():
            raise InputError(f"{stack.name}: slice {z} holds NaN or infinite values; replace them")
        samples.append(sample_grey(plane, z, stack.shape[0]))
    return intensity_range(stack.dtype, np.concatenate(samples))
