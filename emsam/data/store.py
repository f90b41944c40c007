"""The volume store: OME-Zarr 0.5 on Zarr v3, sharded, with a pyramid.

Layout of ``volume.zarr``::

    zarr.json            OME multiscales of the image; EM-SAM's own metadata under "emsam"
    image/0, image/1 …   z,y,x; each level halves y and x
    labels/<task>/0 …    instance ids on the same grid, 0 = background or membrane

See https://ngff.openmicroscopy.org/0.5/.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from pydantic import TypeAdapter

from emsam.data.open_store import damaged, open_store, read_part
from emsam.data.pyramid import our_codecs, pyramid_levels
from emsam.data.splits import SPLIT_NAMES, ZRange
from emsam.errors import InputError
from emsam.settings import require_plain_name

FORMAT = 1
_SAMPLE_STRIDE = 101
_LARGEST_SAMPLE = 8 << 20
"""Grey values that are kept of a volume, however large."""


@dataclass(frozen=True)
class VolumeInfo:
    """EM-SAM's own metadata of a volume.

    Attributes
    ----------
    voxel_size
        z, y, x in nm.
    intensity
        Grey values that become 0 and 1 when a slice is read.
    splits
        z-ranges, both ends included.
    missing
        Slices that hold no image.
    known_missing
        Those of ``missing`` that whoever made the volume knows of: no warning is due.
    unlabelled
        By task, slices in which every label is 0.
    warnings
        What the checks found at ingest, a line each.
    provenance
        Of published data: its name in the catalog, page, citation and checksums.
    """

    name: str
    voxel_size: tuple[float, float, float]
    intensity: tuple[float, float] = (0.0, 255.0)
    splits: dict[str, ZRange] = field(default_factory=dict)
    missing: tuple[int, ...] = ()
    unlabelled: dict[str, tuple[int, ...]] = field(default_factory=dict)
    source: str = ""
    licence: str = ""
    warnings: tuple[str, ...] = ()
    known_missing: tuple[int, ...] = ()
    provenance: dict[str, str] = field(default_factory=dict)
    format: int = FORMAT


_INFO = TypeAdapter(VolumeInfo)


class Volume:
    """A volume store opened for reading.

    Parameters
    ----------
    path
        The folder ``volume.zarr``.

    Raises
    ------
    InputError
        Nothing is there, or it is no volume store of EM-SAM.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._opened: dict[str, Any] = {}
        if not self.path.exists():
            raise InputError(f"{path}: no such volume; ingest it first with 'emsam data ingest'")
        try:
            self._group = open_store(self.path)
            self.info = _read_info(dict(self._group.attrs["emsam"]))  # type: ignore[arg-type]
            self._image = _array(self._group, "image/0")
            _refuse_ranges_beyond(self.info, self.shape[0])
        except InputError:
            raise
        except Exception:  # zarr has many
            raise InputError(
                f"{path}: not a volume store of EM-SAM; ingest the image with 'emsam data ingest'"
            ) from None

    @property
    def shape(self) -> tuple[int, int, int]:
        """z, y, x."""
        depth, height, width = self._image.shape
        return depth, height, width

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks that this volume has labels of."""
        with damaged(self.path, "labels"):
            labels = self._group.get("labels")
            return tuple(sorted(labels.group_keys())) if isinstance(labels, zarr.Group) else ()

    def image(self, z: int) -> np.ndarray:
        """Slice ``z`` as float32 of shape (y, x) in [0, 1]."""
        return rescale(self.grey(z), self.info.intensity)

    def grey(self, z: int) -> np.ndarray:
        """Slice ``z`` as it is stored, (y, x)."""
        return read_part(self.path, self._image, z, slice(None), slice(None))

    def stored(self, what: str, first: int, last: int, level: int = 0) -> np.ndarray:
        """Slices ``first`` to ``last``, both included, as they were ingested: (z, y, x).

        Parameters
        ----------
        what
            ``image`` or ``labels/<task>``.
        level
            Of the pyramid; -1 is the coarsest.
        """
        level %= pyramid_levels(self.shape)
        with damaged(self.path, what):
            array = self._group[f"{what}/{level}"]
        return read_part(self.path, array, slice(first, last + 1), slice(None), slice(None))

    def window(self, what: str, z: int, level: int, rows: slice, columns: slice) -> np.ndarray:
        """A part of slice ``z`` at a level of the pyramid, as it was ingested: (y, x).

        Only the chunks that it touches are read.

        Parameters
        ----------
        what
            ``image`` or ``labels/<task>``.
        rows, columns
            In pixels of the level; what lies beyond the slice is left out.
        """
        name = f"{what}/{level}"
        if name not in self._opened:
            with our_codecs(), damaged(self.path, what):
                self._opened[name] = self._group[name]  # it reads several times as fast, too
        return read_part(self.path, self._opened[name], z, rows, columns)

    def labels(self, task: str, z: int) -> np.ndarray:
        """Instance ids of slice ``z``: unsigned integers of shape (y, x)."""
        self.require_task(task)
        with damaged(self.path, task):
            array = self._group[f"labels/{task}/0"]
        return read_part(self.path, array, z, slice(None), slice(None))

    def slices(self, split: str, task: str) -> list[int]:
        """Slices of a split, in order of z, that can be learned from and judged on.

        Missing sections are left out, and for neurites slices without a label: tissue without
        neurites there is none, so nobody has labelled them.

        Raises
        ------
        InputError
            The volume has no such split, or nothing usable in it.
        """
        if split not in self.info.splits:
            known = ", ".join(f"{k}={a}-{b}" for k, (a, b) in self.info.splits.items())
            raise InputError(
                f"{self.path}: no {split} slices (splits: {known}); ingest with --split "
                f"{split}=…, or name another of {', '.join(SPLIT_NAMES)}"
            )
        first, last = self.info.splits[split]
        left_out = set(self.info.missing)
        if task == "neurites":
            left_out |= set(self.info.unlabelled.get(task, ()))
        slices = [z for z in range(first, last + 1) if z not in left_out]
        if not slices:
            raise InputError(
                f"{self.path}: every {split} slice is a missing section or has no {task} labels; "
                "ingest with other z-ranges"
            )
        return slices

    def require_task(self, task: str) -> None:
        """Raise :class:`InputError` unless there are labels of ``task``."""
        if task not in self.tasks:
            have = ", ".join(self.tasks) or "none"
            raise InputError(
                f"{self.path}: no {task} labels (has: {have}); ingest with --labels {task}=FILE"
            )


def rescale(image: np.ndarray, intensity: tuple[float, float]) -> np.ndarray:
    """Grey values → float32 in [0, 1]: ``intensity`` = (value that becomes 0, that becomes 1)."""
    low, high = intensity
    scaled = (image.astype(np.float32) - np.float32(low)) / np.float32(high - low)
    return np.clip(scaled, 0.0, 1.0, out=scaled)


def intensity_range(dtype: np.dtype[np.generic], sample: np.ndarray) -> tuple[float, float]:
    """Grey values that become 0 and 1.

    8-bit images use their whole range, as SAM does. Others rarely fill theirs, so the 0.1 and
    99.9 percentiles of ``sample`` are taken.
    """
    if dtype == np.uint8:
        return (0.0, 255.0)
    if sample.size == 0:
        return (0.0, 1.0)
    low, high = np.percentile(sample, (0.1, 99.9))
    return (float(low), float(high)) if high > low else (float(low), float(low) + 1.0)


def sample_grey(plane: np.ndarray, z: int, depth: int) -> np.ndarray:
    """Grey values of slice ``z`` of ``depth``, for :func:`intensity_range`.

    About one in a hundred; of volumes so large that this would fill the memory, fewer. 8-bit
    images need none, and a constant slice is a lost section that says nothing.
    """
    if plane.dtype == np.uint8 or plane.min() == plane.max():
        return np.empty(0, plane.dtype)
    stride = max(_SAMPLE_STRIDE, depth * plane.size // _LARGEST_SAMPLE | 1)
    return plane.ravel()[z % stride :: stride].copy()


def _read_info(info: dict[str, Any]) -> VolumeInfo:
    """Metadata as it was written, checked; JSON has lists where it had tuples."""
    tuples = {key: tuple(info[key]) for key in ("voxel_size", "intensity", "missing", "warnings")}
    tuples["known_missing"] = tuple(info.get("known_missing", ()))  # older volumes have none
    named = {
        key: {name: tuple(values) for name, values in info[key].items()}
        for key in ("splits", "unlabelled")
    }
    found = VolumeInfo(**info | tuples | named)  # an unknown key is of a newer EM-SAM
    require_plain_name(found.name)  # files are named after it
    return _INFO.validate_python(vars(found))


def _refuse_ranges_beyond(info: VolumeInfo, depth: int) -> None:
    """``ValueError`` for splits that are no ranges of slices."""
    for name, (first, last) in info.splits.items():
        if not 0 <= first <= last < depth:
            raise ValueError(f"{name} is {first}-{last} of {depth} slices")


def _array(group: zarr.Group, path: str) -> zarr.Array[Any]:
    """An array of three axes; ``ValueError`` if it is something else."""
    array = group[path]
    if not isinstance(array, zarr.Array) or array.ndim != 3 or 0 in array.shape:
        raise ValueError(f"{path} is no z,y,x array")
    return array
