"""From an image stack and its labels to a volume store, in one pass over the slices."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from emsam.data import checks
from emsam.data.downloads import Inputs, fetched, list_remotes
from emsam.data.new_store import Progress, new_store
from emsam.data.readers import Stack, VoxelSize, as_unsigned, open_stack
from emsam.data.readers.s3 import Remote, is_remote
from emsam.data.splits import default_splits, parse_splits
from emsam.data.store import Volume, VolumeInfo, VolumeWriter, intensity_range, sample_grey
from emsam.errors import InputError
from emsam.params import TASKS


@dataclass(frozen=True)
class Source:
    """What to ingest.

    Attributes
    ----------
    image
        Where the grey stack is (see :func:`~emsam.data.readers.open_stack`).
    labels
        By task, where the instance ids are.
    voxel_size
        z, y, x in nm; ``None`` takes what the image says.
    split
        z-ranges as typed (see :func:`~emsam.data.splits.parse_splits`); empty for the default.
    """

    image: str | Path
    labels: Mapping[str, str | Path]
    voxel_size: VoxelSize | None = None
    split: str = ""
    licence: str = ""


def ingest_volume(
    name: str, source: Source, store: Path, progress: Progress | None = None
) -> Volume:
    """Check ``source`` and write it as the volume store ``store``.

    A store that came from the same files, unchanged, is kept as it is. Input in S3 is fetched
    into a folder beside ``store``, which is removed at the end; what came before the connection
    broke stays there, and the next call goes on.

    Raises
    ------
    InputError
        Input that the checks refuse, or a store that holds something else. Nothing is written.
    """
    _refuse_at_sight(source)
    remotes = list_remotes([source.image, *source.labels.values()])
    if remotes and (kept := _kept(source, remotes, store)) is not None:
        return kept
    with fetched(remotes, store, progress) as inputs:
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
        splits = parse_splits(source.split, depth) if source.split else default_splits(depth)
        voxel_size = _voxel_size(source, image)
        recipe = _recipe(
            inputs.identity(source.image, image),
            {task: inputs.identity(source.labels[task], each) for task, each in labels.items()},
            voxel_size,
            source.split,
            image.voxel_size if is_remote(source.image) else None,
        )
        if (existing := existing_volume(store, recipe)) is not None:
            return existing
        info = VolumeInfo(
            name=name, voxel_size=voxel_size, splits=splits, source=recipe, licence=source.licence
        )
        with new_store(store) as temporary:
            _write_store(temporary, image, labels, info, progress)
    return Volume(store)


def _refuse_at_sight(source: Source) -> None:
    """What can be said before a file is opened."""
    for task in source.labels:
        if task not in TASKS:
            raise InputError(f"--labels {task}=…: unknown task; one of {', '.join(TASKS)}")
    if source.voxel_size is not None:
        checks.check_voxel_size(source.voxel_size)


def _voxel_size(source: Source, image: Stack) -> VoxelSize:
    """What the user says, else what the image says."""
    size = source.voxel_size or image.voxel_size
    if size is None:
        raise InputError(f"{image.name}: says no voxel size; give --voxel-size z,y,x in nm")
    return size


def _write_store(
    folder: Path,
    image: Stack,
    labels: Mapping[str, Stack],
    info: VolumeInfo,
    progress: Progress | None,
) -> None:
    """Check and write every slice, then ``info`` with what was found."""
    types = {task: _unsigned(each.dtype) for task, each in labels.items()}
    writer = VolumeWriter(folder, image.shape, image.dtype.newbyteorder("="), types)
    checker, sample = _copy_slices(image, labels, writer, progress)
    checker.refuse_empty_labels()
    found = replace(
        info,
        intensity=intensity_range(image.dtype, sample),
        missing=checker.missing,
        unlabelled=checker.unlabelled,
        warnings=(*image.warnings, *checker.warnings(info.splits)),
    )
    writer.finish(found)


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
    return volume


def _copy_slices(
    image: Stack,
    labels: Mapping[str, Stack],
    writer: VolumeWriter,
    progress: Progress | None,
) -> tuple[checks.Checker, np.ndarray]:
    """Check and write every slice; returns what was seen and a sample of the grey values."""
    checker = checks.Checker(image.name, {task: stack.name for task, stack in labels.items()})
    samples: list[np.ndarray] = []
    readers = [iter(image), *(iter(stack) for stack in labels.values())]
    for z, (plane, *label_planes) in enumerate(zip(*readers, strict=True)):
        named = dict(zip(labels, label_planes, strict=True))
        checker.look(plane, named)
        samples.append(sample_grey(plane, z))
        writer.append(plane, named)
        if progress:
            progress(z + 1, image.shape[0])
    return checker, np.concatenate(samples)


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
    names = {task: _identity(where, remotes) for task, where in source.labels.items()}
    recipe = _recipe(_identity(source.image, remotes), names, size, source.split, offered)
    return existing_volume(store, recipe)


def _identity(where: str | Path, remotes: Mapping[str, Remote]) -> str:
    if str(where) in remotes:
        return remotes[str(where)].identity
    with open_stack(where) as stack:
        return stack.identity()
