"""Files of a segmentation that is being made; each appears when it is whole.

Layout of the folder::

    job.json, params.yaml, model.safetensors    what every worker reads
    windows/<z>/<window>.npz                    objects of a window
    slices/<z>.npz                              objects of a slice
    pairs/<z>-<z>.npz                           pixels that objects of two slices share
    ids/<z>.npy                                 final ids of the objects of a slice
    written/<level>-<shard>                     a mark for each shard that is on the disk
    store.zarr                                  the output
"""

from __future__ import annotations

import os
import threading
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

import numpy as np

from emsam.documents import sync_path

JOB, PARAMS, WEIGHTS = "job.json", "params.yaml", "model.safetensors"
FETCHED = "fetched"
"""Beside the folder: input that cannot be read where it is."""


def window_file(folder: Path, z: int, window: int) -> Path:
    return folder / "windows" / str(z) / f"{window}.npz"


def slice_file(folder: Path, z: int) -> Path:
    return folder / "slices" / f"{z}.npz"


def pair_file(folder: Path, before: int, after: int) -> Path:
    return folder / "pairs" / f"{before}-{after}.npz"


def ids_file(folder: Path, z: int) -> Path:
    return folder / "ids" / f"{z}.npy"


def shard_mark(folder: Path, level: int, shard: tuple[int, int, int]) -> Path:
    return folder / "written" / f"{level}-{'-'.join(map(str, shard))}"


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an ``.npz`` that is whole, and on the disk, when it has its name."""

    def fill(stream: IO[bytes]) -> None:
        # numpy's own compresses at level 6: six times the time, and a fifth less
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=2) as archive:
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)

    _write(path, fill)


def write_array(path: Path, array: np.ndarray) -> None:
    """As :func:`write_arrays`, an ``.npy``."""
    _write(path, lambda stream: np.save(stream, array))


def write_mark(path: Path) -> None:
    """As :func:`write_arrays`, an empty file."""
    _write(path, lambda stream: None)


def read_arrays(path: Path, *, but: str = "") -> dict[str, np.ndarray]:
    """All arrays of an ``.npz``, or all but one; nothing in it is unpickled."""
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files if name != but}


def _write(path: Path, fill: Callable[[IO[bytes]], None]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # another worker may write the same file, if this one was given up: both write the same
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        with temporary.open("wb") as stream:
            fill(stream)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
        sync_path(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
