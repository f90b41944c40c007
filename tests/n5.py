"""N5 data sets as the specification has them, for the tests that read them."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import math
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np


def pack_lz4(content: bytes) -> bytes:
    """As lz4-java's LZ4BlockOutputStream does: 64 kB a part, stored where packing gains nothing.

    Layout: https://github.com/lz4/lz4-java, net/jpountz/lz4/LZ4BlockOutputStream.java.
    """
    stream = b""
    for start in range(0, len(content), 1 << 16):
        part = content[start : start + (1 << 16)]
        packed = imagecodecs.lz4_encode(part, header=False)
        token, packed = (0x10, part) if len(packed) >= len(part) else (0x20, packed)
        stream += struct.pack("<8sBIII", b"LZ4Block", token | 6, len(packed), len(part), 7) + packed
    return stream + struct.pack("<8sBIII", b"LZ4Block", 0x16, 0, 0, 0)


CODECS: dict[str, tuple[dict[str, Any], Callable[[bytes], bytes]]] = {
    "raw": ({"type": "raw"}, bytes),
    "gzip": ({"type": "gzip", "level": -1}, gzip.compress),
    "zlib": ({"type": "gzip", "useZlib": True}, zlib.compress),
    "bzip2": ({"type": "bzip2", "blockSize": 9}, bz2.compress),
    "xz": ({"type": "xz", "preset": 6}, lzma.compress),
    "zstd": ({"type": "zstd"}, imagecodecs.zstd_encode),
    "lz4": ({"type": "lz4", "blockSize": 65536}, pack_lz4),
    "blosc": ({"type": "blosc", "cname": "lz4"}, imagecodecs.blosc_encode),
}


def write_n5(
    folder: Path,
    array: np.ndarray,
    block: tuple[int, ...] = (2, 16, 16),
    codec: str = "gzip",
    *,
    padded: bool = False,
    **more: Any,
) -> Path:
    """A data set as the N5 specification has it; ``block`` in the order of the array's axes."""
    options, encode = CODECS[codec]
    attributes = {
        "dimensions": array.shape[::-1],
        "blockSize": block[::-1],
        "dataType": array.dtype.name,
        "compression": options,
    } | more
    folder.mkdir(parents=True)
    (folder / "attributes.json").write_text(json.dumps(attributes))
    grid = [math.ceil(side / step) for side, step in zip(array.shape, block, strict=True)]
    for where in np.ndindex(*grid):
        part = array[tuple(slice(i * n, (i + 1) * n) for i, n in zip(where, block, strict=True))]
        if padded:
            missing = [(0, n - m) for n, m in zip(block, part.shape, strict=True)]
            part = np.pad(part, missing)
        header = struct.pack(f">HH{part.ndim}I", 0, part.ndim, *part.shape[::-1])
        path = folder.joinpath(*map(str, where[::-1]))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(header + encode(part.astype(part.dtype.newbyteorder(">")).tobytes()))
    return folder
