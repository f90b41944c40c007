"""Which reader a location belongs to."""

from __future__ import annotations

import re
from pathlib import Path

from emsam.data.readers.folder import open_folder
from emsam.data.readers.hdf5 import HDF5_SUFFIXES, open_hdf5
from emsam.data.readers.mrc import MRC_SUFFIXES, open_mrc
from emsam.data.readers.n5 import open_n5
from emsam.data.readers.png import PngStack
from emsam.data.readers.stack import Stack
from emsam.data.readers.tiff import TIFF_SUFFIXES, open_tiff
from emsam.data.readers.zarr_array import open_zarr
from emsam.data.readers.zarr_metadata import is_node
from emsam.errors import InputError

S3 = "s3://"
KNOWN = (
    ".tif, .tiff, .png, .h5, .hdf5, .hdf (file.h5:/path), .mrc, .rec, .st, .zarr, .n5 "
    "(image.zarr/path), or a folder of .tif or .png slices"
)
"""What can be read, for messages and ``--help``."""

_IN_HDF5 = re.compile(
    rf"(?P<file>.+?({'|'.join(map(re.escape, HDF5_SUFFIXES))})):(?P<inner>/?.*)", re.IGNORECASE
)


def open_stack(location: str | Path, *, name: str = "", whole: bool = True) -> Stack:
    """Open a grey or label stack of any format that is known.

    Parameters
    ----------
    location
        A file, a folder, ``file.h5:/path``, or ``image.zarr/path``.
    name
        What messages call it; ``location`` by default.
    whole
        Whether all of it will be read, so that it is worth looking at every chunk of a Zarr now.

    Returns
    -------
    Stack
        To be closed, or used in a ``with`` statement.

    Raises
    ------
    InputError
        A location where nothing is, another format, or content that its reader refuses.
    """
    text = str(location)
    name = name or text
    if text.startswith(S3):
        raise InputError(
            f"{name}: s3:// is read by 'emsam data ingest' and 'emsam segment'; fetch it first"
        )
    path, inner = split_location(text)
    if not path.exists():
        raise InputError(f"{name}: no such file; check the path")
    if path.is_dir():
        return _open_directory(path, name, whole)
    suffix = path.suffix.lower()
    if suffix in TIFF_SUFFIXES:
        return open_tiff(path, name)
    if suffix in HDF5_SUFFIXES:
        return open_hdf5(path, inner, name)
    if suffix in MRC_SUFFIXES:
        return open_mrc(path, name)
    if suffix == ".png":
        return PngStack(path, name)
    raise InputError(
        f"{name}: the format {suffix or '(no suffix)'} is not known; give one of {KNOWN}"
    )


def _open_directory(path: Path, name: str, whole: bool) -> Stack:
    """A Zarr or N5 folder, by its metadata or by the suffix of a folder above, or slices."""
    suffixes = [each.suffix.lower() for each in (path, *path.parents)]
    if is_node(path) or ".zarr" in suffixes:
        return open_zarr(path, name, whole=whole)
    if (path / "attributes.json").is_file() or ".n5" in suffixes:
        return open_n5(path, name)
    return open_folder(path, name)


def is_known(suffix: str) -> bool:
    """Whether files that end so are read."""
    known = (*TIFF_SUFFIXES, *HDF5_SUFFIXES, *MRC_SUFFIXES, ".png")
    return suffix.lower() in known


def split_location(location: str) -> tuple[Path, str]:
    """``"file.h5:/volumes/raw"`` → the file and ``"/volumes/raw"``, which may be empty."""
    match = _IN_HDF5.fullmatch(location)
    if match and not Path(location).exists():
        return Path(match["file"]), match["inner"]
    return Path(location), ""
