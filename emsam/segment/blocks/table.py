"""The objects of a segmentation as a Parquet table, a row each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet

from emsam.segment.blocks.files import ids_file, read_arrays, slice_file

FILE = "objects.parquet"
_FAR = np.int64(2**62)


def write_table(folder: Path, path: Path, slices: Sequence[int], *, link: bool) -> int:
    """Write ``id``, ``area`` in voxels, centroid ``z``, ``y``, ``x`` and bounding box ``z0`` …
    ``x1`` (ends do not belong to it) in voxels of the image, mean ``confidence`` (interior
    probability), and ``slices``, how many the object is in.

    Returns
    -------
    int
        Objects.
    """
    parts = (_of_slice(folder, z) for z in slices)
    tables = [_joined(parts)] if link else map(_finished, parts)
    writer, count = None, 0
    for columns in tables:
        table = pyarrow.table(columns)
        count += len(table)
        writer = writer or pyarrow.parquet.ParquetWriter(path, table.schema)
        writer.write_table(table)
    assert writer is not None  # a job has at least one slice
    writer.close()
    return count


def _of_slice(folder: Path, z: int) -> dict[str, np.ndarray]:
    """Sums of the objects of a slice, whose ids are those of the output."""
    found = read_arrays(slice_file(folder, z))
    count = len(found["area"])
    return {
        "id": np.load(ids_file(folder, z), allow_pickle=False)[1:],
        "area": found["area"],
        "sum_z": found["area"] * z,
        **{key: found[key] for key in ("sum_y", "sum_x", "sure")},
        "z0": np.full(count, z),
        "z1": np.full(count, z + 1),
        **dict(zip(("y0", "y1", "x0", "x1"), found["box"].T, strict=True)),
        "slices": np.ones(count, np.int64),
    }


def _joined(parts: Iterator[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Rows of one id added up, slice by slice: what is held is the objects of the volume."""
    held: dict[str, np.ndarray] = {}
    for part in parts:
        # two profiles of an object in one slice are one slice
        part["slices"][np.setdiff1d(np.arange(len(part["id"])), _first_of_each(part["id"]))] = 0
        size = max([int(part["id"].max(initial=0)) + 1, *map(len, held.values())])
        for key, values in part.items():
            if key == "id":
                continue
            extreme = {"0": np.minimum, "1": np.maximum}.get(key[-1])
            start = _FAR if extreme is np.minimum else values.dtype.type(0)
            old = held.get(key, np.empty(0, values.dtype))
            grown = np.concatenate([old, np.full(size - len(old), start, values.dtype)])
            (extreme or np.add).at(grown, part["id"], values)
            held[key] = grown
    present = np.flatnonzero(held["area"] > 0)
    return _finished({"id": present} | {key: values[present] for key, values in held.items()})


def _first_of_each(ids: np.ndarray) -> np.ndarray:
    return np.unique(ids, return_index=True)[1]


def _finished(part: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Columns of the table from sums."""
    area = part["area"]
    return {
        "id": part["id"].astype(np.uint64),
        "area": area.astype(np.int64),
        **{axis: part[f"sum_{axis}"] / area for axis in "zyx"},
        **{f"{axis}{end}": part[f"{axis}{end}"].astype(np.int64) for axis in "zyx" for end in "01"},
        "confidence": (part["sure"] / area).astype(np.float32),
        "slices": part["slices"].astype(np.int32),
    }
