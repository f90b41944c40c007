"""HDF5 data sets, such as SNEMI3D's ``main`` and CREMI's ``volumes/raw``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

import h5py
import numpy as np

from emsam.data.digest import file_xxh3
from emsam.data.readers.axes import refuse_other_order
from emsam.data.readers.chunks import chunk_grid, not_stored
from emsam.data.readers.content import refuse_other_content
from emsam.data.readers.stack import (
    FileDigest,
    Stack,
    VoxelSize,
    reading,
    refuse_large_chunk,
    slabs,
)
from emsam.data.readers.units import nanometres, voxel_size
from emsam.errors import InputError

HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf")
_LISTED = 8


class Hdf5Stack(Stack):
    """A data set of an HDF5 file, read one chunk deep at a time."""

    def __init__(self, path: Path, name: str, file: h5py.File, dataset: h5py.Dataset) -> None:
        super().__init__(
            name, dataset.shape, dataset.dtype, _resolution(dataset), _never_written(dataset)
        )
        refuse_other_order(_axis_names(dataset), dataset.shape, name)
        if dataset.chunks:
            refuse_large_chunk(name, dataset.chunks, self.dtype)
        self._path = path
        self._file = file
        self._dataset = dataset

    def _planes(self, first: int) -> Iterator[np.ndarray]:
        if self._dataset.ndim == 2:
            yield self._dataset[()]
            return
        depth, height, width = self.shape
        chunk = self._dataset.chunks[0] if self._dataset.chunks else 1
        for start, end in slabs(depth, chunk, height * width * self.dtype.itemsize, first):
            yield from self._dataset[start:end]

    @property
    def chunk(self) -> tuple[int, int, int]:
        """Of a chunked data set its chunks, else slices."""
        if not self._dataset.chunks:
            return super().chunk
        depth, height, width = (1, *self._dataset.chunks)[-3:]
        return depth, height, width

    def _region(self, z: int, y: slice, x: slice) -> np.ndarray:
        return self._dataset[y, x] if self._dataset.ndim == 2 else self._dataset[z, y, x]

    def identity(self, digest: FileDigest = file_xxh3) -> str:
        """Digest of the file, and the data set."""
        return f"{digest(self._path)}:{self._dataset.name}"

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def open_hdf5(path: Path, inner: str, name: str) -> Hdf5Stack:
    """Open the data set ``inner``, or the only one that can be a stack.

    Parameters
    ----------
    inner
        Path of a data set or a group in the file; empty for the whole file.

    Raises
    ------
    InputError
        No HDF5, no such data set, several to choose from, links to other files, data sets that
        keep their values in other files, and values that are no numbers.
    """
    refuse_other_content(path, name)
    with reading(name, "HDF5"):
        file = h5py.File(path, "r")
    try:
        with reading(name, "HDF5"):
            node = _follow(file, inner, path, name)
            dataset = node if isinstance(node, h5py.Dataset) else _only_dataset(node, path, name)
            _refuse_other_files(dataset, name)
            _refuse_other_types(dataset, name)
            return Hdf5Stack(path, name, file, dataset)
    except BaseException:
        file.close()
        raise


def _follow(file: h5py.File, inner: str, path: Path, name: str) -> h5py.Group | h5py.Dataset:
    """The object at ``inner``, reached without leaving the file."""
    node: Any = file
    remaining = list(PurePosixPath(inner.strip("/")).parts)
    for _ in range(100):  # soft links may go in circles
        if not remaining:
            return node
        part = remaining.pop(0)
        link = node.get(part, getlink=True) if isinstance(node, h5py.Group) else None
        if link is None:
            raise InputError(f"{name}: no data set {inner} in {path}; it has {_listed(file)}")
        if isinstance(link, h5py.ExternalLink):
            raise InputError(
                f"{name}: {inner} is a link to another file ({link.filename}); name that file"
            )
        if isinstance(link, h5py.SoftLink):
            remaining = [*PurePosixPath(link.path.strip("/")).parts, *remaining]
            node = file if link.path.startswith("/") else node
        else:
            node = node[part]
    raise InputError(f"{name}: the links at {inner} go in circles; name the data set itself")


def _only_dataset(group: h5py.Group, path: Path, name: str) -> h5py.Dataset:
    found = [group.file[each] for each in _candidates(group)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise InputError(f"{name}: no data set of 2 or 3 axes; it has {_listed(group)}")
    raise InputError(
        f"{name}: several data sets, name one as {path}:/PATH; it has {_listed(group)}"
    )


def _datasets(group: h5py.Group) -> Iterator[h5py.Dataset]:
    """Data sets below ``group``; links are not followed."""
    found: list[h5py.Dataset] = []
    group.visititems(lambda _, node: found.append(node) if isinstance(node, h5py.Dataset) else None)
    yield from found


def _candidates(group: h5py.Group) -> list[str]:
    return [
        dataset.name
        for dataset in _datasets(group)
        if dataset.ndim in (2, 3) and dataset.dtype.kind in "uif"
    ]


def _listed(group: h5py.Group) -> str:
    """Data sets by name, shape and dtype, in one line."""
    found = [f"{each.name} {each.shape} {each.dtype}" for each in _datasets(group)]
    more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    return (", ".join(found[:_LISTED]) or "none") + more


def _refuse_other_files(dataset: h5py.Dataset, name: str) -> None:
    if dataset.external or dataset.is_virtual:
        raise InputError(
            f"{name}: {dataset.name} keeps its values in other files; copy them into one data set"
        )


def _refuse_other_types(dataset: h5py.Dataset, name: str) -> None:
    if dataset.shape is None or dataset.dtype.kind not in "biuf":
        raise InputError(
            f"{name}: {dataset.name} has dtype {dataset.dtype}; give a data set of plain numbers"
        )


def _resolution(dataset: h5py.Dataset) -> VoxelSize | None:
    """CREMI's attribute ``resolution``: z, y, x in nm, or in what ``units`` or ``unit`` says."""
    try:
        value = np.asarray(dataset.attrs["resolution"], dtype=np.float64).ravel()
        units = np.ravel(dataset.attrs.get("units", dataset.attrs.get("unit", "nm"))).tolist()
    except (KeyError, TypeError, ValueError, OSError):
        return None
    factors = [
        nanometres(each.decode() if isinstance(each, bytes) else str(each)) for each in units
    ]
    if len(factors) not in (1, len(value)) or None in factors:
        return None
    return voxel_size((value * np.array(factors, float)).tolist())


def _axis_names(dataset: h5py.Dataset) -> list[str]:
    """Labels of the dimensions, or vigra's ``axistags`` (ilastik); none where some are missing."""
    with suppress(Exception):  # whatever is wrong with metadata, the voxels are read
        if "axistags" in dataset.attrs:
            tags = json.loads(dataset.attrs["axistags"])["axes"]
            return [str(each["key"]) for each in tags] if len(tags) == dataset.ndim else []
        return [dimension.label for dimension in dataset.dims]
    return []


def _never_written(dataset: h5py.Dataset) -> tuple[str, ...]:
    """A warning of what is read as a fill value because nothing was ever written there."""
    if dataset.chunks:
        grid = chunk_grid(dataset.shape, dataset.chunks)
        return not_stored(dataset.id.get_num_chunks(), grid, dataset.fillvalue)
    if dataset.id.get_storage_size() == 0:
        return (f"nothing was ever written to {dataset.name}; it is read as {dataset.fillvalue}",)
    return ()
