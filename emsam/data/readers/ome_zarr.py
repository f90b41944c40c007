"""What OME-Zarr metadata say of an array: which is the full resolution, its axes, its scale.

See https://ngff.openmicroscopy.org/0.4/ and /0.5/.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from emsam.data.readers.chunks import inside
from emsam.data.readers.stack import VoxelSize
from emsam.data.readers.units import nanometres, voxel_size
from emsam.data.readers.zarr_metadata import attributes_of, is_node
from emsam.errors import InputError

_ABOVE = 4


def full_resolution(group: Path, name: str) -> Path | None:
    """The array of full resolution; ``None`` if the group is no OME-Zarr image.

    A group as bioformats2raw writes it is taken if it holds one series.

    Raises
    ------
    InputError
        Metadata that lead out of the group or nowhere, or several series.
    """
    attributes = attributes_of(group, name)
    ome = attributes["ome"] if isinstance(attributes.get("ome"), dict) else attributes
    if "bioformats2raw.layout" in ome and not _multiscales(group, name):
        if is_node(group / "1"):
            raise InputError(f"{name}: holds several images; name one, such as {name}/0")
        group = group / "0"
    levels = _levels(group, name)
    if not levels:
        return None
    first = inside(group, levels[0][0], name)
    if not is_node(first):
        raise InputError(f"{name}: its full resolution {levels[0][0]!r} is missing; copy it again")
    return first


def ome_axes(array: Path, name: str) -> tuple[tuple[str, ...], VoxelSize | None]:
    """Names of an array's axes and z, y, x in nm, from a group above that lists it."""
    for group in list(array.parents)[:_ABOVE]:
        multiscale = _multiscales(group, name)
        for path, scale in _levels(group, name):
            if (group / path).resolve() == array.resolve():
                axes = multiscale.get("axes")
                axes = axes if isinstance(axes, list) else list("tczyx")
                return _axes_and_size(axes, scale, multiscale)
    return (), None


def _multiscales(group: Path, name: str) -> dict[str, Any]:
    """The first multiscale image of a group; empty if there is none."""
    attributes = attributes_of(group, name)
    ome = attributes["ome"] if isinstance(attributes.get("ome"), dict) else attributes
    found = ome.get("multiscales")
    return found[0] if isinstance(found, list) and found and isinstance(found[0], dict) else {}


def _levels(group: Path, name: str) -> list[tuple[str, list[Any] | None]]:
    """Paths of the levels, full resolution first, and what each is scaled by."""
    datasets = _multiscales(group, name).get("datasets")
    levels = []
    for each in datasets if isinstance(datasets, list) else []:
        if isinstance(each, dict) and isinstance(each.get("path"), str):
            levels.append((each["path"], _scale(each)))
    return levels


def _scale(document: dict[str, Any]) -> list[Any] | None:
    transformations = document.get("coordinateTransformations")
    for each in transformations if isinstance(transformations, list) else []:
        if isinstance(each, dict) and isinstance(each.get("scale"), list):
            return list(each["scale"])
    return None


def _axes_and_size(
    axes: list[Any], scale: list[Any] | None, multiscale: dict[str, Any]
) -> tuple[tuple[str, ...], VoxelSize | None]:
    described = [each if isinstance(each, dict) else {"name": each} for each in axes]
    names = tuple(str(each.get("name")).lower() for each in described)
    common = _scale(multiscale) or [1] * len(names)
    if scale is None or not len(scale) == len(common) == len(names):
        return names, None
    sides: list[float | None] = []
    for axis in "zyx":
        if axis not in names:
            return names, None
        where = names.index(axis)
        factors = (scale[where], common[where], nanometres(str(described[where].get("unit"))))
        known = all(type(each) in (int, float) for each in factors)
        sides.append(factors[0] * factors[1] * factors[2] if known else None)
    return names, voxel_size(sides)
