"""Segment a volume of any size: look, segment slices, link, write; or go on with it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from emsam.data.new_store import part_of
from emsam.documents import is_disk_full
from emsam.errors import DiskFull, InputError
from emsam.locks import owned_lock
from emsam.params import Params
from emsam.segment.blocks import executors
from emsam.segment.blocks.budget import plan_memory
from emsam.segment.blocks.files import (
    FETCHED,
    ids_file,
    pair_file,
    read_arrays,
    shard_mark,
    slice_file,
    write_array,
)
from emsam.segment.blocks.grid import Grid
from emsam.segment.blocks.job import Job
from emsam.segment.blocks.options import Options
from emsam.segment.blocks.output import (
    STORE,
    create_store,
    describe_store,
    level_shapes,
    shards,
    write_tiff,
)
from emsam.segment.blocks.pairs import link_objects, number_objects, slice_pairs
from emsam.segment.blocks.prepare import (
    begun_in,
    check_output,
    finished,
    folder_of,
    is_zarr,
    plan_job,
    take_folder,
    weights_of,
)
from emsam.segment.blocks.speed import Speed
from emsam.segment.blocks.table import FILE, write_table
from emsam.segment.blocks.work import Task, Work

Report = Callable[[int, int, str], None]
"""Called with (done, total) and what is done, and how fast."""


def segment_volume(
    network: nn.Module,
    image: str,
    out: Path,
    params: Params,
    options: Options = Options(),  # noqa: B008  (frozen)
    report: Report | None = None,
) -> dict[str, Any]:
    """Segment a volume block by block.

    The same call goes on after it was killed, with whatever workers, and ends in the same ids;
    what is finished lies in ``.<name>.part`` beside ``out`` until ``out`` is whole.

    Parameters
    ----------
    network
        In eval mode, on its device.
    image
        Location of a grey stack, ``s3://`` too.
    out
        ``.zarr`` becomes an OME-Zarr label image with a table of its objects; ``.tif`` a stack of
        uint32 ids, whose slices must fit into memory.

    Returns
    -------
    dict
        ``objects``, ``voxels``, ``damaged`` (z and y0, y1, x0, x1 of what was skipped), ``digest``.

    Raises
    ------
    InputError
        Input that cannot be read or segmented, an output that is something else.
    DiskFull
        What is finished stays.
    WorkersDied
        Again and again.
    """
    check_output(out, options.overwrite)
    weights = weights_of(network)
    with _part(out) as part:
        job = plan_job(image, options, params, weights, part / FETCHED)
        digest = job.digest(params)
        if (about := _kept(part, out, digest, options.overwrite)) is not None:
            return about
        folder = folder_of(part, digest)
        with _executor(folder, job, params, network, len(weights), options) as run:
            take_folder(folder, out, job, params, weights, options.overwrite)
            about = _Run(folder, job, params, run, report).all(out, digest)
        _finish(part, folder, out)
        return about


def _kept(part: Path, out: Path, digest: str, overwrite: bool) -> dict[str, Any] | None:
    """What is known of an output that is whole already; then nothing begun stays beside it."""
    about = finished(out, digest, overwrite)
    if about is not None:
        for begun in begun_in(part):  # by one that was killed at its very end
            shutil.rmtree(begun)
    return about


def _executor(
    folder: Path, job: Job, params: Params, network: nn.Module, size: int, options: Options
) -> AbstractContextManager[executors.Executor]:
    """Who does the tasks, as many at a time as fit into ``options.memory``.

    Parameters
    ----------
    size
        Bytes of the network's weights.
    """
    budget = plan_memory(
        job, params, size, memory=options.memory,
        workers=1 if options.dask else options.workers, processes=options.processes,
    )  # fmt: skip
    if options.dask:
        return executors.dask(options.dask, str(folder.absolute()), budget.keep)
    if options.processes:
        return executors.processes(str(folder.absolute()), budget.keep, budget.workers)
    return executors.threads(Work(folder, budget.keep, network), budget.workers)


class _Run:
    """The phases of a job, each of which begins when the one before is done."""

    def __init__(
        self,
        folder: Path,
        job: Job,
        params: Params,
        run: executors.Executor,
        report: Report | None,
    ) -> None:
        self._folder, self._job, self._params = folder, job, params
        self._run, self._report = run, report
        self._grid: Grid = job.grid(params)

    def all(self, out: Path, digest: str) -> dict[str, Any]:
        self._segment()
        objects = self._number(anew=not is_zarr(out))
        about = {
            "digest": digest,
            "objects": objects,
            "voxels": len(self._job.slices) * self._grid.region.pixels,
            "damaged": list(self._damaged()),
            "image": self._job.image,
            "weights_sha256": self._job.weights,
            "slices": list(self._job.slices),
            "linked": self._job.link,
        }
        if is_zarr(out):
            self._write_store(out, objects, about)
        else:
            for count in write_tiff(self._folder, self._folder / "ids.tif", self._job, self._grid):
                self._tell(count, self._job.depth, "writing")
        return about

    def _segment(self) -> None:
        tasks = [Task("slice", (z,)) for z in self._job.slices]
        speed = Speed(self._folder, self._job.slices, self._grid)
        left = [task for task in tasks if not slice_file(self._folder, task.where[0]).exists()]

        def watch(done: Sequence[Task]) -> None:
            self._tell(*speed.look([task.where[0] for task in done]))

        watch([])
        self._run(left, watch)

    def _number(self, *, anew: bool) -> int:
        """Settle the ids of all objects; returns how many there are."""
        slices = self._job.slices
        if self._job.link:
            pairs = slice_pairs(self._folder, slices)
            todo = [p for p in pairs if not pair_file(self._folder, *p).exists()]
            self._do([Task("pair", pair) for pair in todo], len(pairs), "linking")
            tables = link_objects(self._folder, slices, pairs, self._params.segment.link_overlap)
        else:
            tables = number_objects(self._folder, slices, anew=anew)
        for z, table in tables.items():
            if not ids_file(self._folder, z).exists():
                write_array(ids_file(self._folder, z), table)
        if self._job.link:
            return max(int(table.max()) for table in tables.values())
        return sum(len(table) - 1 for table in tables.values())

    def _write_store(self, out: Path, objects: int, about: dict[str, Any]) -> None:
        create_store(self._folder, self._job, objects)
        shapes = level_shapes(self._job)
        for level, shape in enumerate(shapes):
            all_of_it = list(shards(shape))
            todo = [s for s in all_of_it if not shard_mark(self._folder, level, s).exists()]
            tasks = [Task("shard", (level, *shard)) for shard in todo]
            self._do(tasks, len(all_of_it), f"writing level {level} of {len(shapes) - 1}")
        table = self._folder / STORE / FILE
        write_table(self._folder, table, self._job.slices, link=self._job.link)
        describe_store(self._folder, self._job, out.stem, about)

    def _do(self, tasks: Sequence[Task], total: int, what: str) -> None:
        done = total - len(tasks)

        def watch(finished: Sequence[Task]) -> None:
            nonlocal done
            done += len(finished)
            self._tell(done, total, what)

        if tasks:
            self._run(tasks, watch)

    def _damaged(self) -> Iterator[list[int]]:
        for z in self._job.slices:
            for box in read_arrays(slice_file(self._folder, z))["damaged"].tolist():
                yield [z, *box]

    def _tell(self, done: int, total: int, what: str) -> None:
        if self._report:
            self._report(done, total, what)


@contextmanager
def _part(out: Path) -> Iterator[Path]:
    """The folder of what is not finished, ours alone; it goes if nothing was begun in it.

    Raises
    ------
    InputError
        Another process is segmenting to ``out``.
    """
    folder = part_of(out)
    folder.mkdir(exist_ok=True)
    try:
        with owned_lock(folder / "lock") as (_, holder):
            if holder:
                raise InputError(
                    f"{out}: {holder} is writing it; wait for it, or remove {folder} if it runs no "
                    "more"
                )
            try:
                yield folder
            finally:
                if folder.exists() and not begun_in(folder) and not _has_fetched(folder):
                    shutil.rmtree(folder, ignore_errors=True)  # a newcomer's lock may be in it
    except Exception as error:
        if isinstance(error, InputError) or not is_disk_full(error):
            raise
        free = shutil.disk_usage(out.absolute().parent).free / 1e6
        raise DiskFull(
            f"{out}: no space left on its disk ({free:.0f} MB are free); what is finished stays in "
            f"{folder}: make room, then run the same command again to go on"
        ) from None


def _has_fetched(part: Path) -> bool:
    fetched = part / FETCHED
    return fetched.is_dir() and any(path.is_file() for path in fetched.rglob("*"))


def _finish(part: Path, folder: Path, out: Path) -> None:
    """Give the output its name and remove the rest."""
    made = folder / (STORE if is_zarr(out) else "ids.tif")
    if out.is_dir():
        out.rename(folder / "replaced")
    made.replace(out)
    shutil.rmtree(part, ignore_errors=True)  # a worker that was given up may still write
