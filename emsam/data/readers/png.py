"""Grey PNG slices."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import numpy as np

from emsam.data.digest import file_xxh3
from emsam.data.readers.content import refuse_other_content
from emsam.data.readers.stack import FileDigest, Stack
from emsam.errors import InputError
from emsam.quiet import silence

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PACKED_MOST = 1100
"""Bytes that one of deflate's can become, which are 1032 (https://zlib.net/zlib_tech.html)."""
_COLOURS = {2: "RGB", 3: "palette", 4: "grey with transparency", 6: "RGB with transparency"}


def png_header(path: Path, name: str) -> tuple[tuple[int, int], np.dtype[np.generic]]:
    """(y, x) and dtype of a grey PNG, from its header alone.

    Raises
    ------
    InputError
        No PNG, a colour or palette image, or fewer than 8 bits a pixel.
    """
    refuse_other_content(path, name)
    with path.open("rb") as stream:
        start = stream.read(33)
    if len(start) < 33 or not start.startswith(_SIGNATURE) or start[12:16] != b"IHDR":
        raise InputError(
            f"{name}: cannot be read as PNG; it is truncated or damaged, copy it again"
        )
    width, height, bits, colour = struct.unpack(">IIBB", start[16:26])
    if colour in _COLOURS:
        raise InputError(
            f"{name}: a colour image ({_COLOURS[colour]}); convert it to grey, one channel"
        )
    if colour != 0 or bits not in (8, 16):
        raise InputError(f"{name}: {bits} bits a pixel; convert it to grey of 8 or 16 bits")
    size = path.stat().st_size
    if height * width * bits // 8 > size * _PACKED_MOST:
        raise InputError(
            f"{name}: says it has {height} × {width} pixels, more than {size} bytes can hold; "
            "its header is damaged, or it is truncated, copy it again"
        )
    return (height, width), np.dtype(np.uint8 if bits == 8 else np.uint16)


def read_png(path: Path) -> np.ndarray:
    """Pixels of a grey PNG; the codec's exceptions pass."""
    silence("imagecodecs")  # it would print a line for each chunk that it passes over
    return np.asarray(imagecodecs.png_decode(path.read_bytes()))


class PngStack(Stack):
    """A single PNG as a stack of one slice."""

    def __init__(self, path: Path, name: str) -> None:
        shape, dtype = png_header(path, name)
        super().__init__(name, shape, dtype)
        self._path = path

    def _planes(self, first: int) -> Iterator[np.ndarray]:
        yield read_png(self._path)

    def identity(self, digest: FileDigest = file_xxh3) -> str:
        """Digest of the file."""
        return digest(self._path)
