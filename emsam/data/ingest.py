"""From an image stack and its labels to a volume store, in one pass over the slices."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from emsam.ahead import ahead
from emsam.data import checks
from emsam.data.digest import file_md5, file_xxh3
from emsam.data.downloads import Inputs, Location, fetched, list_remotes
from emsam.data.halving import image_levels
from emsam.data.journal import Journal
from emsam.data.memory import keeping_memory
from emsam.data.new_store import Part, drop_part, new_store
from emsam.data.pyramid import pyramid_levels, stored_bytes
from emsam.data.readers import FileDigest, Stack, VoxelSize, as_unsigned, open_stack
from emsam.data.readers.s3 import Remote
from emsam.data.splits import ZRange, default_splits, parse_splits
from emsam.data.store import (
    FORMAT,
    Volume,
    VolumeInfo,
    intensity_range,
    sample_grey,
)
from emsam.data.writer import VolumeWriter
from emsam.errors import InputError
from emsam.params import TASKS
from emsam.progress import Progress

_Slice = tuple[list[np.ndarray], dict[str, np.ndarray]]
"""The image at all levels, and ids by task."""
_READ_AHEAD = 64 << 20
"""Bytes of a slice, with its labels, up to which the next ones are held meanwhile."""
_JOURNAL = 4
"""Goes up when what is kept of a slice, or how a slab is written, changes."""


@dataclass(frozen=True)
class Source:
    """What to ingest.

    Attributes
    ----------
    image
        Where the grey stack is (see :func:`~emsam.data.readers.open_stack`), or what opens it.
    labels
        By task, where the instance ids are.
    voxel_size
        z, y, x in nm; ``None`` takes what the image says.
    split
        z-ranges as typed (see :func:`~emsam.data.splits.parse_splits`); empty for the default.
    provenance
        Where the data is from, kept with the volume.
    only_judged
        Whether a split without training slices is welcome.
    """

    image: Location
    labels: Mapping[str, Location]
    voxel_size: VoxelSize | None = None
    split: str = ""
    licence: str = ""
    provenance: Mapping[str, str] = field(default_factory=dict)
    only_judged: bool = False


def ingest_volume(
    name: str, source: Source, store: Path, progress: Progress | None = None
) -> Volume:
    """Check ``source`` and write it as the volume store ``store``.

    A store that came from the same files, unchanged, is kept as it is. One that was interrupted or
    killed is gone on with, from the last slab that it wrote, and ends in the same bytes. Input in
    S3 is fetched into a folder beside ``store``, which is removed at the end; what came before
    the connection broke stays there, and the next call goes on.

    Raises
    ------
    InputError
        Input that the checks refuse, a store that holds something else or is being written by
        another process. Nothing is written.
    DiskFull
        No space is left for the store. Nothing stays of it.
    """
    _refuse_at_sight(source)
    remotes = list_remotes([source.image, *source.labels.values()])
    if remotes and (kept := _kept(source, remotes, store)) is not None:
        return kept
    with fetched(remotes, store, progress) as inputs, keeping_memory():
        return _ingest(name, source, inputs, store, progress)


def _ingest(
    name: str, source: Source, inputs: Inputs, store: Path, progress: Progress | None
) -> Volume:
    with ExitStack() as stack:
        image = as_unsigned(stack.enter_context(inputs.open(source.image)))
        labels = {
            task: stack.enter_context(inputs.open(where)) for task, where in source.labels.items()
        }
        checks.check_grids(image, labels)
        depth = image.shape[0]
        splits = _splits(source, depth)
        voxel_size = _voxel_size(source, image)
        digest = _file_digest(store)
        recipe = _recipe(
            inputs.identity(source.image, image, digest),
            {
                task: inputs.identity(source.labels[task], each, digest)
                for task, each in labels.items()
            },
            voxel_size,
            source.split,
            image.voxel_size if str(source.image) in inputs.remotes else None,
        )
        if (existing := existing_volume(store, recipe)) is not None:
            return existing
        info = VolumeInfo(
            name=name,
            voxel_size=voxel_size,
            splits=splits,
            source=recipe,
            licence=source.licence,
            provenance=dict(source.provenance),
        )
        types = {task: _unsigned(each.dtype) for task, each in labels.items()}
        voxel_bytes = sum(each.itemsize for each in (image.dtype, *types.values()))
        size = stored_bytes(image.shape, pyramid_levels(image.shape), voxel_bytes)
        with new_store(store, _making(recipe, image, types), size) as part:
            _write_store(part, image, labels, types, info, progress)
    return Volume(store)


def _refuse_at_sight(source: Source) -> None:
    """What can be said before a file is opened."""
    for task in source.labels:
        if task not in TASKS:
            raise InputError(f"--labels {task}=…: unknown task; one of {', '.join(TASKS)}")
    if source.voxel_size is not None:
        checks.check_voxel_size(source.voxel_size)


def _splits(source: Source, depth: int) -> dict[str, ZRange]:
    if not source.split:
        return default_splits(depth)
    return parse_splits(source.split, depth, train=not source.only_judged)


def _voxel_size(source: Source, image: Stack) -> VoxelSize:
    """What the user says, else what the image says."""
    size = source.voxel_size or image.voxel_size
    if size is None:
        raise InputError(f"{image.name}: says no voxel size; give --voxel-size z,y,x in nm")
    return size


def _write_store(
    part: Part,
    image: Stack,
    labels: Mapping[str, Stack],
    types: Mapping[str, np.dtype[np.generic]],
    info: VolumeInfo,
    progress: Progress | None,
) -> None:
    """Check and write every slice, then ``info`` with what was found."""
    dtype, begun = image.dtype.newbyteorder("="), part.journal.slices
    with VolumeWriter(part.path, image.shape, dtype, types, begun) as writer:
        checker, sample = _copy_slices(image, labels, writer, part.journal, progress)
        checker.refuse_empty_labels()
        found = replace(
            info,
            intensity=intensity_range(image.dtype, sample),
            missing=checker.missing,
            unlabelled=checker.unlabelled,
            warnings=(*image.warnings, *checker.warnings(info.splits)),
        )
        writer.finish(found)


def _making(recipe: str, image: Stack, types: Mapping[str, np.dtype[np.generic]]) -> str:
    """All that the bytes of a slab depend on, and what is kept of its slices."""
    return json.dumps(
        [recipe, image.shape, image.dtype.str, {task: each.str for task, each in types.items()},
         FORMAT, _JOURNAL]
    )  # fmt: skip


def existing_volume(store: Path, recipe: str) -> Volume | None:
    """The volume at ``store`` if it was made by ``recipe``; ``None`` if nothing is there.

    Raises
    ------
    InputError
        Something else is there.
    """
    if not store.exists():
        return None
    volume = Volume(store)
    if volume.info.source != recipe:
        raise InputError(
            f"{store}: exists already and was made from other input; choose another name "
            f"or remove {store.parent} first"
        )
    drop_part(store)
    return volume


def _copy_slices(
    image: Stack,
    labels: Mapping[str, Stack],
    writer: VolumeWriter,
    journal: Journal,
    progress: Progress | None,
) -> tuple[checks.Checker, np.ndarray]:
    """Check and write the slices that the journal lacks; returns what was seen of all of them.

    The second is a sample of the grey values.
    """
    checker = checks.Checker(image.name, {task: stack.name for task, stack in labels.items()})
    samples: list[np.ndarray] = []
    first, depth = journal.slices, image.shape[0]
    if first:
        checker.go_on(journal.lists, writer.last_labels())
        samples += journal.lists["samples"]
    with _read_slices(image, labels, first) as slices, ThreadPoolExecutor(1) as beside:
        for z, (levels, ids) in enumerate(slices, first):
            looked = beside.submit(checker.look, levels[0], levels[-1], ids)
            samples.append(sample_grey(levels[0], z, depth))
            whole = writer.append(levels, ids)
            looked.result()
            if whole:
                journal.turn(z + 1, checker.kept() | {"samples": samples})
            if progress:
                progress(z + 1, depth)
    return checker, np.concatenate(samples)


@contextmanager
def _read_slices(
    image: Stack, labels: Mapping[str, Stack], first: int
) -> Iterator[Iterator[_Slice]]:
    """Slices from ``first`` on.

    While one is used the next two are halved, unless they are large.
    """

    def halved(planes: tuple[np.ndarray, ...]) -> _Slice:
        return image_levels(planes[0]), dict(zip(labels, planes[1:], strict=True))

    stacks = (image, *labels.values())
    size = math.prod(image.shape[1:]) * sum(each.dtype.itemsize for each in stacks)
    planes = zip(*(each.slices_from(first) for each in stacks), strict=True)
    if size > _READ_AHEAD:
        yield map(halved, planes)
        return
    with ahead(halved, planes, threads=2) as slices:
        yield slices


def _unsigned(dtype: np.dtype[np.generic]) -> np.dtype[np.generic]:
    return np.dtype(f"uint{dtype.itemsize * 8}")


def _recipe(
    image: str,
    labels: Mapping[str, str],
    voxel_size: VoxelSize,
    split: str,
    offered: VoxelSize | None,
) -> str:
    """What the store was made from: the content of its input, so that a change is noticed.

    ``offered`` is what a remote image says of its voxel size, which is known again without
    fetching the image.
    """
    recipe: dict[str, Any] = {
        "image": image,
        "labels": {task: labels[task] for task in sorted(labels)},
        "voxel_size": voxel_size,
        "split": split,
    }
    return json.dumps(recipe | ({"image_voxel_size": offered} if offered else {}))


def _file_digest(store: Path) -> FileDigest:
    """How the input of ``store`` was digested; older stores name md5s."""
    older = store.exists() and '"xxh3:' not in Volume(store).info.source
    return file_md5 if older else file_xxh3


def _kept(source: Source, remotes: Mapping[str, Remote], store: Path) -> Volume | None:
    """The volume that was made from the same objects; no other is replaced. Nothing is fetched.

    ``None`` if there is none, or if the voxel size is to be found in an image yet.
    """
    if not store.exists():
        return None
    try:
        offered = json.loads(Volume(store).info.source).get("image_voxel_size")
    except (ValueError, AttributeError):
        offered = None
    size = source.voxel_size or offered
    if size is None:
        return None
    digest = _file_digest(store)
    names = {task: _identity(where, remotes, digest) for task, where in source.labels.items()}
    image = _identity(source.image, remotes, digest)
    recipe = _recipe(image, names, size, source.split, offered)
    return existing_volume(store, recipe)


def _identity(where: Location, remotes: Mapping[str, Remote], digest: FileDigest) -> str:
    if str(where) in remotes:
        return remotes[str(where)].identity
    with where() if callable(where) else open_stack(where) as stack:
        return stack.identity(digest)
