"""Metadata of Zarr v2 and v3 arrays, looked at before the zarr library sees them.

zarr would allocate what they ask for, and a v2 array may name a codec that unpickles.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from emsam.data.readers.chunks import read_json, whole_numbers
from emsam.errors import InputError

_CODECS_3 = {"bytes", "transpose", "blosc", "gzip", "zstd", "crc32c", "sharding_indexed"}
_CODECS_2 = {
    "blosc", "zlib", "gzip", "zstd", "lz4", "lzma", "bz2", "delta", "shuffle", "crc32", "crc32c",
    "adler32", "fletcher32", "jenkins_lookup3", "bitround", "fixedscaleoffset", "quantize",
}  # fmt: skip
_MOST_IN_SHARD = 1 << 22
"""Chunks in a shard beyond which it is refused: the list of them is read whole."""
_DTYPE_3 = re.compile(r"bool|u?int(8|16|32|64)|float(16|32|64)")
_DTYPE_2 = re.compile(r"[<>|](b1|[ui][1248]|f[248])")


@dataclass(frozen=True)
class ZarrArray:
    """What an array says of itself.

    Attributes
    ----------
    chunk
        What is decoded at a time: of a sharded array, a chunk inside a shard.
    stored
        What is a file: a shard, or the chunk itself.
    axes
        Names of the axes, where there are any.
    packed_by
        Name of the codec that wrote the files.
    version
        Of Zarr: 2 or 3.
    """

    folder: Path
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    chunk: tuple[int, ...]
    stored: tuple[int, ...]
    fill: Any
    axes: tuple[str, ...]
    packed_by: str
    version: Literal[2, 3]


def is_array(folder: Path) -> bool:
    """Whether a folder says that it is a Zarr array."""
    if (folder / ".zarray").is_file():
        return True
    return read_json(folder / "zarr.json", str(folder)).get("node_type") == "array"


def is_node(folder: Path) -> bool:
    """Whether a folder is a Zarr array or group."""
    return any((folder / each).is_file() for each in ("zarr.json", ".zarray", ".zgroup"))


def attributes_of(folder: Path, name: str) -> dict[str, Any]:
    """Attributes of an array or a group, of either version."""
    attributes = read_json(folder / "zarr.json", name).get("attributes")
    return attributes if isinstance(attributes, dict) else read_json(folder / ".zattrs", name)


def read_array(folder: Path, name: str) -> ZarrArray:
    """Metadata of the array in ``folder``.

    Raises
    ------
    InputError
        Metadata that are damaged, dtypes that are no numbers, and codecs that are not known.
    """
    third = read_json(folder / "zarr.json", name)
    return _version_3(folder, third, name) if third else _version_2(folder, name)


def _version_3(folder: Path, document: dict[str, Any], name: str) -> ZarrArray:
    dtype = document.get("data_type")
    if not isinstance(dtype, str) or not _DTYPE_3.fullmatch(dtype):
        raise InputError(f"{name}: data_type {str(dtype)[:60]!r} is not read; give plain numbers")
    grid = _dictionary(document.get("chunk_grid"))
    stored = whole_numbers(_dictionary(grid.get("configuration")).get("chunk_shape"), "chunk", name)
    codecs = document.get("codecs")
    _refuse_codecs(_names(codecs, "name"), _CODECS_3, name)
    chunk = stored
    for codec in codecs if isinstance(codecs, list) else []:
        if isinstance(codec, dict) and codec.get("name") == "sharding_indexed":
            inner = _dictionary(codec.get("configuration"))
            chunk = whole_numbers(inner.get("chunk_shape"), "chunk", name)
            inner_codecs = _names(inner.get("codecs"), "name")
            inner_codecs += _names(inner.get("index_codecs"), "name")
            _refuse_codecs(inner_codecs, _CODECS_3 - {"sharding_indexed"}, name)
    axes = _axes(document.get("dimension_names"))
    shape = whole_numbers(document.get("shape"), "shape", name)
    fill = document.get("fill_value", 0)
    packed_by = (_names(codecs, "name") or [""])[-1].removeprefix("numcodecs.")
    array = ZarrArray(folder, shape, np.dtype(dtype), chunk, stored, fill, axes, packed_by, 3)
    return _agreeing(array, name)


def _version_2(folder: Path, name: str) -> ZarrArray:
    document = read_json(folder / ".zarray", name)
    dtype = document.get("dtype")
    if not isinstance(dtype, str) or not _DTYPE_2.fullmatch(dtype):
        raise InputError(f"{name}: dtype {str(dtype)[:60]!r} is not read; give plain numbers")
    codecs = _names(document.get("filters"), "id")
    codecs += _names([document["compressor"]] if document.get("compressor") else None, "id")
    _refuse_codecs(codecs, _CODECS_2, name)
    chunk = whole_numbers(document.get("chunks"), "chunks", name)
    shape = whole_numbers(document.get("shape"), "shape", name)
    fill = document.get("fill_value") or 0
    packed_by = (codecs or [""])[-1]
    axes = _axes(attributes_of(folder, name).get("_ARRAY_DIMENSIONS"))  # as xarray names them
    array = ZarrArray(folder, shape, np.dtype(dtype), chunk, chunk, fill, axes, packed_by, 2)
    return _agreeing(array, name)


def _agreeing(array: ZarrArray, name: str) -> ZarrArray:
    if not len(array.shape) == len(array.chunk) == len(array.stored):
        raise InputError(
            f"{name}: shape {array.shape} and chunks {array.chunk} have different axes; "
            "it is damaged"
        )
    inside = math.prod(
        max(1, a // max(1, b)) for a, b in zip(array.stored, array.chunk, strict=True)
    )
    if inside > _MOST_IN_SHARD:
        raise InputError(
            f"{name}: shards of {array.stored} in chunks of {array.chunk}, more than "
            f"{_MOST_IN_SHARD:,} in each; it is damaged, or write it again with smaller shards"
        )
    return array


def _dictionary(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _axes(names: Any) -> tuple[str, ...]:
    return tuple(str(each) for each in names) if isinstance(names, list) else ()


def _names(codecs: Any, key: str) -> list[str]:
    """Names of codecs; what is no list of codecs becomes a name that nobody has."""
    if codecs is None:
        return []
    if not isinstance(codecs, list):
        return ["?"]
    return [str(each.get(key)) if isinstance(each, dict) else str(each) for each in codecs]


def _refuse_codecs(names: list[str], known: set[str], name: str) -> None:
    """Only codecs that turn bytes into numbers; ``numcodecs.`` marks those of v2 in v3."""
    allowed = known | {f"numcodecs.{each}" for each in _CODECS_2}
    for codec in names:
        if codec not in allowed:
            raise InputError(
                f"{name}: the codec {codec[:40]!r} is not read; write it again with blosc, gzip "
                "or zstd"
            )
