"""Predicted ids of the judged slices of a volume: OME-Zarr labels with a pyramid.

Layout of a store of predictions::

    zarr.json    multiscales, moved to the first slice; EM-SAM's own metadata under "emsam"
    0, 1 …       z,y,x ids of the slices from the first to the last; each level halves y and x

Slices in between that were not judged are empty. The grid is that of the volume, so that any
window of a slice is read from image, labels and predictions alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from emsam.data.halving import halve_labels
from emsam.data.open_store import open_store, read_part
from emsam.data.pyramid import create_level, multiscales, our_codecs, pyramid_levels, shard_of
from emsam.errors import InputError

FORMAT = 1
_DTYPE = np.dtype(np.uint32)


class PredictionWriter:
    """Writes a store of predictions slice by slice; memory is one slab of a shard's depth.

    The caller gives the path a temporary name and renames it when :meth:`finish` has returned.

    Parameters
    ----------
    path
        A folder that is not there yet.
    side
        y, x of a slice.
    slices
        What will be appended, ascending.
    voxel_size
        z, y, x in nm.
    about
        Kept beside the ids: what was predicted, from what. JSON.
    """

    def __init__(
        self,
        path: Path,
        side: tuple[int, int],
        slices: Sequence[int],
        voxel_size: tuple[float, float, float],
        about: dict[str, Any],
    ) -> None:
        self._slices, self._about, self._voxel_size = list(slices), about, voxel_size
        self._first = self._slices[0]
        self._shape = (self._slices[-1] - self._first + 1, *side)
        self._shard = shard_of(side, _DTYPE.itemsize)
        self._levels = pyramid_levels(self._shape)
        with our_codecs():
            self._group = zarr.open_group(path, mode="w-", zarr_format=3)
            self._arrays = [
                create_level(self._group, str(level), level, self._shape, _DTYPE, self._shard)
                for level in range(self._levels)
            ]
        self._slab: dict[int, np.ndarray] = {}

    def append(self, z: int, ids: np.ndarray) -> None:
        """Add slice ``z``: ids (y, x), 0 = background or membrane."""
        at = z - self._first
        if self._slab and at // self._shard[0] != next(iter(self._slab)) // self._shard[0]:
            self._flush()
        self._slab[at] = ids.astype(_DTYPE)

    def finish(self) -> None:
        """Write the last slab and the metadata."""
        if self._slab:
            self._flush()
        ome = multiscales("", "prediction", self._voxel_size, self._levels, self._first)
        ome["image-label"] = {}
        own = {"format": FORMAT, "first": self._first, "slices": self._slices}
        self._group.attrs.put({"ome": ome, "emsam": self._about | own})

    def _flush(self) -> None:
        """Write all levels of a slab: in one piece, since a shard is written whole."""
        first, last = min(self._slab), max(self._slab)
        empty = np.zeros(self._shape[1:], _DTYPE)
        slab = np.stack([self._slab.get(at, empty) for at in range(first, last + 1)])
        for array in self._arrays:
            array[first : last + 1] = slab
            slab = np.stack([halve_labels(plane) for plane in slab])
        self._slab = {}


class Predictions:
    """A store of predictions opened for reading.

    Attributes
    ----------
    slices
        Slices of the volume that were predicted, ascending.
    about
        What the writer was told.

    Raises
    ------
    InputError
        Nothing is there, or it is no store of predictions.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        try:
            self._group = open_store(self.path)
            self.about: dict[str, Any] = dict(self._group.attrs["emsam"])  # type: ignore[arg-type]
            self._first = int(self.about["first"])
            self.slices = tuple(int(z) for z in self.about["slices"])
            with our_codecs():  # it reads several times as fast, too
                count = len(list(self._group.array_keys()))
                self._levels = [self._group[str(level)] for level in range(count)]
            self.shape: tuple[int, ...] = self._levels[0].shape[1:]  # type: ignore[union-attr]
        except Exception:  # zarr has many
            raise InputError(f"{path}: no predictions here, or damaged ones") from None

    def ids(self, z: int) -> np.ndarray:
        """Ids of slice ``z``, uint32 (y, x)."""
        return self.window(z, 0, slice(None), slice(None))

    def window(self, z: int, level: int, rows: slice, columns: slice) -> np.ndarray:
        """Ids (y, x) of a part of slice ``z``; see :meth:`emsam.data.store.Volume.window`.

        Raises
        ------
        InputError
            The slice was not predicted.
        """
        if z not in self.slices:
            raise InputError(f"{self.path}: slice {z} was not predicted")
        return read_part(self.path, self._levels[level], z - self._first, rows, columns)
