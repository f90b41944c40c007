"""N5 data sets (https://github.com/saalfeldlab/n5), with the codecs that Python reads.

Axes are x, y, z in N5's metadata and block headers; values are big-endian, x runs fastest, so a
block of (x, y, z) is a C-ordered array of (z, y, x).
"""

from __future__ import annotations

import bz2
import lzma
import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np

from emsam.data.digest import file_xxh3, folder_digest
from emsam.data.readers.axes import refuse_other_order
from emsam.data.readers.chunks import (
    arrays_below,
    missing_chunks,
    only_array,
    read_json,
    refuse_links,
    whole_numbers,
)
from emsam.data.readers.stack import (
    LARGEST_CHUNK,
    FileDigest,
    Stack,
    VoxelSize,
    refuse_large_chunk,
    slabs,
)
from emsam.data.readers.units import nanometres, voxel_size
from emsam.errors import InputError

_DTYPES = {f"{kind}{bits}" for kind in ("uint", "int") for bits in (8, 16, 32, 64)}
_DTYPES |= {"float32", "float64"}
_CODECS = ("raw", "gzip", "bzip2", "xz", "zstd", "blosc", "lz4")
_LZ4_HEADER = struct.Struct("<8sBIII")
_LZ4_STORED = 0x10


class N5Stack(Stack):
    """An N5 data set of two or three axes; a block that is not stored is 0."""

    def __init__(self, folder: Path, name: str) -> None:
        attributes = read_json(folder / "attributes.json", name)
        shape = whole_numbers(attributes.get("dimensions"), "dimensions", name)[::-1]
        block = whole_numbers(attributes.get("blockSize"), "blockSize", name)[::-1]
        dtype = attributes.get("dataType")
        if not isinstance(dtype, str) or dtype not in _DTYPES:
            raise InputError(f"{name}: dataType {dtype!r} is not read; convert it to integers")
        super().__init__(name, shape, np.dtype(dtype), _resolution(folder, name))
        if len(block) != len(shape):
            raise InputError(f"{name}: blocks of {len(block)} axes in {len(shape)}; it is damaged")
        axes = attributes.get("axes")  # neuroglancer's, in the order of the dimensions
        if isinstance(axes, list):
            refuse_other_order(axes[::-1], shape, name)
        refuse_large_chunk(name, block, self.dtype)
        self._codec, self._options = _codec(attributes, name)
        self._folder = folder
        self._two_axes = len(shape) == 2
        self._block = (1, *block)[-3:]
        refuse_links(folder, name)
        self.warnings = missing_chunks(folder, shape[::-1], block[::-1], 0, _key, name)

    def _planes(self, first: int) -> Iterator[np.ndarray]:
        depth, height, width = self.shape
        plane_bytes = height * width * self.dtype.itemsize
        for start, end in slabs(depth, self._block[0], plane_bytes, first):
            slab = np.zeros((end - start, height, width), self.dtype)
            z = start // self._block[0]
            for y in range(math.ceil(height / self._block[1])):
                for x in range(math.ceil(width / self._block[2])):
                    self._fill(slab, start, (z, y, x))
            yield from slab

    def _fill(self, slab: np.ndarray, first: int, where: tuple[int, int, int]) -> None:
        """Copy one block into the slab that begins at slice ``first``."""
        grid = where[1:] if self._two_axes else where
        path = self._folder / _key(grid[::-1])
        if not path.is_file():
            return
        block = self._read(path)
        z, y, x = (index * side for index, side in zip(where, self._block, strict=True))
        target = slab[:, y : y + self._block[1], x : x + self._block[2]]
        part = block[first - z : first - z + len(slab), : target.shape[1], : target.shape[2]]
        if part.shape != target.shape:
            raise ValueError(f"block {path.name} has the shape {block.shape}")
        target[:] = part

    def _read(self, path: Path) -> np.ndarray:
        """A block of shape (z, y, x)."""
        content = path.read_bytes()
        mode, axes = struct.unpack_from(">HH", content)
        wanted = 2 if self._two_axes else 3
        if mode != 0 or axes != wanted:
            raise ValueError(f"block {path.name} of mode {mode} and {axes} axes")
        sides = struct.unpack_from(f">{axes}I", content, 4)[::-1]
        count = math.prod(sides)
        size = count * self.dtype.itemsize
        if size > LARGEST_CHUNK:
            raise ValueError(f"block {path.name} of {size} bytes")
        values = _decode(content[4 + 4 * axes :], self._codec, self._options, size)
        if len(values) != size:
            raise ValueError(f"block {path.name} has {len(values)} bytes in place of {size}")
        array = np.frombuffer(values, self.dtype.newbyteorder(">"))
        return array.reshape((1, *sides)[-3:])

    def identity(self, digest: FileDigest = file_xxh3) -> str:
        """Digest of all files of the data set."""
        return folder_digest(self._folder)


def open_n5(folder: Path, name: str) -> N5Stack:
    """Open an N5 data set, or the only one in a group, or ``s0`` of a multiscale group.

    Raises
    ------
    InputError
        No data set, several to choose from, another dtype or codec, or damaged metadata.
    """
    if not _is_dataset(folder):
        scaled = _is_dataset(folder / "s0")
        found = [folder / "s0"] if scaled else list(arrays_below(folder, _is_dataset))
        folder = only_array(folder, found, name)
    return N5Stack(folder, name)


def _key(place: tuple[int, ...]) -> str:
    """File of the block at ``place``: x, y, z."""
    return "/".join(map(str, place))


def _is_dataset(folder: Path) -> bool:
    return "dimensions" in read_json(folder / "attributes.json", str(folder))


def _codec(attributes: dict[str, Any], name: str) -> tuple[str, dict[str, Any]]:
    """Name and options of the compression; N5 before 2.0 had the name alone."""
    compression = attributes.get("compression", attributes.get("compressionType", "raw"))
    options = compression if isinstance(compression, dict) else {"type": compression}
    codec = options.get("type")
    if codec not in _CODECS:
        raise InputError(
            f"{name}: compression {codec!r} is not read; write it again with one of "
            f"{', '.join(_CODECS)}"
        )
    return codec, options


def _decode(content: bytes, codec: str, options: dict[str, Any], size: int) -> bytes:
    """At most ``size`` + 1 bytes: no block can unpack to more memory than it says."""
    if codec == "raw":
        return content
    if codec == "zstd":
        return bytes(imagecodecs.zstd_decode(content, out=size))
    if codec == "blosc":
        unpacked, _, packed = struct.unpack_from("<III", content, 4)
        if (unpacked, packed) != (size, len(content)):  # the library does not look
            raise ValueError(f"{len(content)} bytes of blosc in place of {packed}")
        return bytes(imagecodecs.blosc_decode(content, out=size))
    if codec == "lz4":
        return _unpack_lz4(content, size)
    wbits = zlib.MAX_WBITS if options.get("useZlib") else zlib.MAX_WBITS | 16
    decoder: Any = {
        "gzip": lambda: zlib.decompressobj(wbits),
        "bzip2": bz2.BZ2Decompressor,
        "xz": lzma.LZMADecompressor,
    }[codec]()
    values: bytes = decoder.decompress(content, size + 1)
    if not decoder.eof:
        raise ValueError(f"{codec} ends too early, or holds more than {size} bytes")
    return values


def _unpack_lz4(content: bytes, size: int) -> bytes:
    """What lz4-java's ``LZ4BlockOutputStream`` wrote: parts with a header each, the last empty.

    The header is a magic word, a token (its upper four bits say whether the part is packed) and,
    little-endian, the packed size, the size and a checksum that is not looked at.
    """
    values, at = bytearray(), 0
    while True:
        magic, token, packed, unpacked, _ = _LZ4_HEADER.unpack_from(content, at)
        at += _LZ4_HEADER.size
        if magic != b"LZ4Block" or len(values) + unpacked > size or at + packed > len(content):
            raise ValueError(f"lz4 of {len(content)} bytes does not hold {size} bytes")
        if not unpacked:
            return bytes(values)
        part = content[at : at + packed]
        stored = token & 0xF0 == _LZ4_STORED
        values += part if stored else imagecodecs.lz4_decode(part, header=False, out=unpacked)
        at += packed


def _resolution(folder: Path, name: str) -> VoxelSize | None:
    """z, y, x in nm, from the data set or, at full resolution, from its group.

    ``pixelResolution`` is BigDataViewer's, of the full resolution, and ``resolution`` with
    ``units`` neuroglancer's, both x, y, z. A ``resolution`` without units is not taken: some
    writers put z first.
    """
    own = read_json(folder / "attributes.json", name)
    above = read_json(folder.parent / "attributes.json", name) if folder.name == "s0" else {}
    for attributes in (own, above):
        pixel = attributes.get("pixelResolution")
        if isinstance(pixel, dict):
            sides, units = pixel.get("dimensions"), [pixel.get("unit")] * 3
            smaller = own.get("downsamplingFactors", [1, 1, 1])
        else:
            sides, units = attributes.get("resolution"), attributes.get("units", [])
            smaller = [1, 1, 1]
        given = [each for each in (sides, units, smaller) if isinstance(each, list)]
        if [len(each) for each in given] != [3, 3, 3]:
            continue
        sides, units, smaller = given
        factors = [nanometres(str(unit)) for unit in units]
        if all(type(each) in (int, float) for each in (*sides, *smaller)) and all(factors):
            lengths = zip(sides, factors, smaller, strict=True)
            return voxel_size([side * f * times for side, f, times in lengths if f][::-1])
    return None
