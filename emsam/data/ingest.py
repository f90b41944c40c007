"""From an image stack and its labels to a volume store, in one pass over the slices."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emsam.data import checks
from emsam.data.digest import file_md5
from emsam.data.readers import TiffStack, open_stack
from emsam.data.splits import default_splits, parse_splits
from emsam.data.store import Volume, VolumeInfo, VolumeWriter, intensity_range, sample_grey
from emsam.errors import InputError
from emsam.params import TASKS

Progress = Callable[[int, int], None]
"""Called with (done, total)."""


@dataclass(frozen=True)
class Source:
    """What to ingest.

    Attributes
    ----------
    labels
        By task, the file of instance ids.
    voxel_size
        z, y, x in nm.
    split
        z-ranges as typed (see :func:`~emsam.data.splits.parse_splits`); empty for the default.
    """

    image: Path
    labels: Mapping[str, Path]
    voxel_size: tuple[float, float, float]
    split: str = ""
    licence: str = ""


def ingest_volume(
    name: str, source: Source, store: Path, progress: Progress | None = None
) -> Volume:
    """Check ``source`` and write it as the volume store ``store``.

    A store that came from the same files, unchanged, is kept as it is.

    Raises
    ------
    InputError
        Input that the checks refuse, or a store that holds something else. Nothing is written.
    """
    for task in source.labels:
        if task not in TASKS:
            raise InputError(f"--labels {task}=…: unknown task; one of {', '.join(TASKS)}")
    checks.check_voxel_size(source.voxel_size)
    with ExitStack() as stack:
        image = stack.enter_context(open_stack(source.image))
        labels = {
            task: stack.enter_context(open_stack(path)) for task, path in source.labels.items()
        }
        checks.check_grids(image, labels)
        depth = image.shape[0]
        splits = parse_splits(source.split, depth) if source.split else default_splits(depth)
        recipe = _recipe(source)
        if (existing := existing_volume(store, recipe)) is not None:
            return existing
        with new_store(store) as temporary:
            types = {task: _unsigned(each.dtype) for task, each in labels.items()}
            writer = VolumeWriter(temporary, image.shape, image.dtype.newbyteorder("="), types)
            checker, sample = _copy_slices(image, labels, writer, progress)
            checker.refuse_empty_labels()
            info = VolumeInfo(
                name=name,
                voxel_size=source.voxel_size,
                intensity=intensity_range(image.dtype, sample),
                splits=splits,
                missing=checker.missing,
                unlabelled=checker.unlabelled,
                source=recipe,
                licence=source.licence,
                warnings=checker.warnings(splits),
            )
            writer.finish(info)
    return Volume(store)


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


@contextmanager
def new_store(store: Path) -> Iterator[Path]:
    """A temporary folder beside ``store`` that takes its name when the block ends well."""
    temporary = store.with_name(f".{store.name}.{os.getpid()}.part")
    made = _make_parents(store.parent)
    _drop_leftovers(store)
    try:
        yield temporary
        temporary.rename(store)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        with suppress(OSError):  # somebody else may have come in meanwhile
            for folder in made:
                folder.rmdir()
        raise


def _make_parents(folder: Path) -> list[Path]:
    """Create ``folder``; returns what was created, innermost first."""
    made = []
    while not folder.exists():
        made.append(folder)
        folder = folder.parent
    for each in reversed(made):
        each.mkdir()
    return made


def _drop_leftovers(store: Path) -> None:
    """Remove what writers that were killed left beside ``store``."""
    for leftover in store.parent.glob(f".{store.name}.*.part"):
        pid = int(leftover.name.split(".")[-2])
        if pid == os.getpid() or not _is_alive(pid):
            shutil.rmtree(leftover, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _copy_slices(
    image: TiffStack,
    labels: Mapping[str, TiffStack],
    writer: VolumeWriter,
    progress: Progress | None,
) -> tuple[checks.Checker, np.ndarray]:
    """Check and write every slice; returns what was seen and a sample of the grey values."""
    checker = checks.Checker(image.path, {task: stack.path for task, stack in labels.items()})
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


def _recipe(source: Source) -> str:
    """What the store was made from: the files' content, so that a change is noticed."""
    return json.dumps(
        {
            "image": file_md5(source.image),
            "labels": {task: file_md5(path) for task, path in sorted(source.labels.items())},
            "voxel_size": source.voxel_size,
            "split": source.split,
        }
    )
