"""The voxel size that OME's and ImageJ's metadata of a TIFF say."""

from __future__ import annotations

from contextlib import suppress
from xml.etree import ElementTree

import tifffile

from emsam.data.readers.stack import VoxelSize
from emsam.data.readers.units import nanometres, voxel_size


def tiff_voxel_size(file: tifffile.TiffFile) -> VoxelSize | None:
    """z, y, x in nm; ``None`` where the metadata lack one of them.

    The resolution of other TIFFs is dots an inch for printing and says nothing of tissue.
    """
    with suppress(Exception):  # whatever is wrong with metadata, the pixels are read
        if file.is_ome and file.ome_metadata:
            return _of_ome(file.ome_metadata)
        if file.is_imagej and file.imagej_metadata:
            return _of_imagej(file)
    return None


def _of_ome(xml: str) -> VoxelSize | None:
    """``PhysicalSizeZ`` and so on of the first ``Pixels``; the unit is µm if none is given."""
    pixels = ElementTree.fromstring(xml).find(".//{*}Pixels")
    if pixels is None:
        return None
    sides = []
    for axis in "ZYX":
        unit = nanometres(pixels.get(f"PhysicalSize{axis}Unit", "um"))
        value = pixels.get(f"PhysicalSize{axis}")
        sides.append(float(value) * unit if value and unit else None)
    return voxel_size(sides)


def _of_imagej(file: tifffile.TiffFile) -> VoxelSize | None:
    """``spacing`` and ``unit``, and pixels a unit in the resolution tags."""
    metadata = file.imagej_metadata or {}
    unit = nanometres(str(metadata.get("unit", "")))
    tags = file.pages.first.tags
    if unit is None or "spacing" not in metadata:
        return None
    sides: list[float | None] = [float(metadata["spacing"]) * unit]
    for axis in "YX":
        count, length = tags[f"{axis}Resolution"].value
        sides.append(unit * length / count if count else None)
    return voxel_size(sides)
