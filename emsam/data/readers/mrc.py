"""MRC files (MRC2014 and IMOD), a slice mapped at a time.

Rows are kept in the order of the file; MRC counts them from the bottom, most EM files do not.
See Cheng et al., J. Struct. Biol. 192 (2015), doi 10.1016/j.jsb.2015.04.002.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from mrcfile import utils
from mrcfile.dtypes import HEADER_DTYPE

from emsam.data.digest import file_xxh3
from emsam.data.readers.content import refuse_other_content
from emsam.data.readers.stack import FileDigest, Stack, VoxelSize, reading
from emsam.data.readers.units import voxel_size
from emsam.errors import InputError

MRC_SUFFIXES = (".mrc", ".rec", ".st", ".ali", ".map", ".mrcs")
_MODES = (0, 1, 2, 6, 12)
_HEADER = 1024
_IMOD_STAMP = 1146047817
_IMOD_SIGNED = 1


class MrcStack(Stack):
    """The data block of an MRC file."""

    def __init__(
        self, path: Path, name: str, header: np.record, dtype: np.dtype[np.generic]
    ) -> None:
        super().__init__(name, utils.data_shape_from_header(header), dtype, _voxel_size(header))
        self._path = path
        self._start = _HEADER + int(header["nsymbt"])
        self._plane_bytes = self.shape[1] * self.shape[2] * self.dtype.itemsize
        size, needed = path.stat().st_size, self._start + self.shape[0] * self._plane_bytes
        if int(header["nsymbt"]) < 0 or size < needed:
            raise InputError(
                f"{name}: shape {self.shape} ({self.dtype}) needs {needed} bytes, the file has "
                f"{size}; it is truncated, copy it again"
            )
        if more := (size - needed) // self._plane_bytes:
            self.warnings = (f"its header says {self.shape[0]} slices, the file has {more} more",)

    def _planes(self, first: int) -> Iterator[np.ndarray]:
        for z in range(first, self.shape[0]):
            start = self._start + z * self._plane_bytes
            # a mapping of the whole file would stay in memory as it is read
            yield np.array(np.memmap(self._path, self.dtype, "r", start, self.shape[1:]))

    def identity(self, digest: FileDigest = file_xxh3) -> str:
        """Digest of the file."""
        return digest(self._path)


def open_mrc(path: Path, name: str) -> MrcStack:
    """Open an MRC file of mode 0, 1, 2, 6 or 12, in either byte order.

    Mode 0 is signed as MRC2014 says, unless the file carries IMOD's mark for unsigned bytes.

    Raises
    ------
    InputError
        No MRC file, another mode, axes in another order than z, y, x, or a truncated file.
    """
    refuse_other_content(path, name)
    with path.open("rb") as stream:
        raw = stream.read(_HEADER)
    with reading(name, "MRC"):
        header, order = _header(raw, name)
        mode = int(header["mode"])
        if mode not in _MODES:
            raise InputError(
                f"{name}: mode {mode} is not read; convert it to one of "
                f"{', '.join(map(str, _MODES))}"
            )
        axes = tuple(int(header[each]) for each in ("mapc", "mapr", "maps"))
        if axes not in ((1, 2, 3), (0, 0, 0)):
            raise InputError(
                f"{name}: its axes are in the order {axes}; save it as x, y, z = 1, 2, 3"
            )
        dtype = np.dtype(utils.data_dtype_from_header(header)).newbyteorder(order)
        if mode == 0 and _says_unsigned(header, raw):
            dtype = np.dtype(np.uint8)
        return MrcStack(path, name, header, dtype)


def _header(raw: bytes, name: str) -> tuple[np.record, Literal["<", ">"]]:
    """The header, and the byte order of the file."""
    if len(raw) < _HEADER or raw[208:211] != b"MAP":
        raise InputError(
            f"{name}: no MRC file, its header lacks the letters MAP; copy it again, or save it as "
            "MRC2014"
        )
    order: Literal["<", ">"] = utils.byte_order_from_machine_stamp(bytearray(raw[212:216]))
    fields = np.frombuffer(raw, HEADER_DTYPE.newbyteorder(order))
    header: np.record = fields.view(np.recarray)[0]
    return header, order


def _says_unsigned(header: np.record, raw: bytes) -> bool:
    words = np.frombuffer(raw, header.dtype["mode"], 2, 152)
    return int(words[0]) == _IMOD_STAMP and not int(words[1]) & _IMOD_SIGNED


def _voxel_size(header: np.record) -> VoxelSize | None:
    """Cell size by sampling, from Å; 1 Å on all sides is what writers put who do not know."""
    sides = []
    for axis, count in zip("zyx", ("mz", "my", "mx"), strict=True):
        length, samples = float(header["cella"][axis]), int(header[count])
        sides.append(length / samples / 10 if samples > 0 else None)
    size = voxel_size(sides)
    return None if size == (0.1, 0.1, 0.1) else size
