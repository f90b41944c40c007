"""Stacks of which parts are read: nothing is done at opening that takes longer for a larger one."""

from __future__ import annotations

import hashlib
from pathlib import Path

from emsam.data.new_store import make_parents
from emsam.data.readers.opening import open_stack, split_location
from emsam.data.readers.s3 import fetch, is_remote, list_remote
from emsam.data.readers.s3_zarr import S3ZarrStack, open_s3_zarr
from emsam.data.readers.stack import Stack
from emsam.data.readers.unsigned import as_unsigned
from emsam.data.readers.zarr_array import find_array
from emsam.data.readers.zarr_metadata import is_node


def open_regions(location: str, fetched: Path) -> tuple[Stack, str]:
    """Open a stack for :meth:`~emsam.data.readers.stack.Stack.region`; and what it is known by.

    The second tells another image from this one without reading it: metadata of a Zarr, size and
    time of change of a file, ETags in S3. A Zarr in S3 is read chunk by chunk; other formats come
    into ``fetched`` first, and what has come is gone on with.

    Raises
    ------
    InputError
        As :func:`~emsam.data.readers.open_stack`, and whatever S3 refuses.
    """
    if not is_remote(location):
        stack = open_stack(location, whole=False)
        return as_unsigned(stack), _known_by(location)
    found: S3ZarrStack | None = open_s3_zarr(location)
    if found is not None:
        return as_unsigned(found), found.identity()
    remote = list_remote(location)
    folder = fetched / remote.identity.split(":")[1]
    make_parents(folder)
    local = fetch(remote, folder)
    return as_unsigned(open_stack(local, name=location, whole=False)), remote.identity


def _known_by(location: str) -> str:
    path, inner = split_location(location)
    if path.is_dir():
        folder = find_array(path, location) if is_node(path) else path
        entries = sorted(each for each in folder.iterdir() if each.is_file())
    else:
        entries = [path]
    said = [f"{path.resolve()}:{inner}"]
    for entry in entries:
        state = entry.stat()
        said.append(f"{entry.name} {state.st_size} {state.st_mtime_ns}")
    return hashlib.sha256("\n".join(said).encode()).hexdigest()
