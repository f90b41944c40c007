"""Lengths as files write them, in nm."""

from __future__ import annotations

import math
from collections.abc import Sequence

from emsam.data.readers.stack import VoxelSize

_UNITS = {
    1e-3: ("pm", "picometer", "picometre"),
    0.1: ("å", "angstrom", "ångström", "ångstrom"),
    1.0: ("nm", "nanometer", "nanometre", "nanometers", "nanometres"),
    1e3: ("um", "micron", "microns", "micrometer", "micrometre", "micrometers", "micrometres"),
    1e6: ("mm", "millimeter", "millimetre"),
    1e7: ("cm", "centimeter", "centimetre"),
    1e9: ("m", "meter", "metre"),
}
_NANOMETRES = {name: factor for factor, names in _UNITS.items() for name in names}


def nanometres(unit: str) -> float | None:
    """Nanometres in ``unit`` as people and programs write it; ``None`` if it is no length."""
    plain = unit.strip().lower().replace("\\u00b5", "u")
    plain = plain.replace("\u00b5", "u").replace("\u03bc", "u").replace("\u212b", "å")
    return _NANOMETRES.get(plain)


def voxel_size(sides: Sequence[float | None]) -> VoxelSize | None:
    """z, y, x in nm, to six digits; ``None`` unless all three are positive and finite."""
    if len(sides) != 3:
        return None
    given = [side for side in sides if side is not None and math.isfinite(side) and side > 0]
    if len(given) != 3:
        return None
    z, y, x = (float(f"{side:.6g}") for side in given)
    return z, y, x
