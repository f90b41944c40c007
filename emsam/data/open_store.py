"""Stores of ours, opened without believing what is in them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from emsam.data.readers.chunks import read_json, touched_files
from emsam.data.readers.stack import refuse_large_chunk
from emsam.data.readers.zarr_metadata import read_array
from emsam.errors import DamagedInput, InputError, one_line

_DEPTH = 4
_MOST_NODES = 1000


def open_store(path: Path) -> zarr.Group:
    """The group of a volume or of predictions, for reading, once its metadata are looked at.

    A codec of Zarr v2 unpickles, and zarr allocates what any array says.

    Raises
    ------
    InputError
        Metadata that are damaged or missing, or that name codecs that are not read.
    """
    name = str(path)
    for count, (folder, document) in enumerate(_nodes(path, name, _DEPTH)):
        if count > _MOST_NODES:
            raise InputError(f"{name}: more than {_MOST_NODES} arrays; copy it again")
        if document.get("node_type") == "array":
            array = read_array(folder, f"{name}, {folder.relative_to(path)}")
            refuse_large_chunk(name, array.chunk, array.dtype)
    return zarr.open_group(path, mode="r", zarr_format=3, use_consolidated=False)


def _nodes(folder: Path, name: str, depth: int) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Groups and arrays with their metadata; chunks of an array are not looked through."""
    document = read_json(folder / "zarr.json", name)
    if not document:
        return
    yield folder, document
    if depth and document.get("node_type") == "group":
        for child in sorted(folder.iterdir()):
            if child.is_dir():
                yield from _nodes(child, name, depth - 1)


@contextmanager
def damaged(path: Path, what: str) -> Iterator[None]:
    """Whatever a codec says of damaged chunks becomes one clear line.

    Raises
    ------
    DamagedInput
        The block raised anything that is no :class:`InputError`.
    """
    try:
        yield
    except InputError:
        raise
    except BaseException as error:  # every codec has its own exception
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise  # Rust's is none of Python's
        raise DamagedInput(
            f"{path}: {what} cannot be read ({one_line(error)}); it is truncated or damaged, copy "
            "it again"
        ) from None


def read_part(path: Path, array: Any, *index: int | slice) -> np.ndarray:
    """A part of an array of the store at ``path``.

    Raises
    ------
    DamagedInput
        No such array, or it cannot be decoded there.
    """
    with damaged(path, getattr(array, "path", "an array")):
        if not isinstance(array, zarr.Array) or len(index) != array.ndim:
            raise ValueError("no array of three axes")
        folder, stored = path / array.path, array.shards or array.chunks
        key = array.metadata.encode_chunk_key
        for file in touched_files(folder, stored, index, array.shape, key):
            if file.exists() and not file.is_file():  # a device would never end
                raise ValueError(f"{file.relative_to(path)} is no file")
        return np.asarray(array[index])
