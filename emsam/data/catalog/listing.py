"""The catalog as rows, for a table and for JSON."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from emsam.data.catalog import CATALOG
from emsam.data.catalog.entry import Entry
from emsam.data.catalog.get import is_volume_of, volume_name
from emsam.data.catalog.raw_files import is_fetched
from emsam.errors import InputError

COLUMNS = ("name", "tissue", "task", "voxel (nm)", "shape", "licence", "got", "here")
_WIDEST = 34
"""Characters of a cell of the table; JSON has all of them."""


def catalog_rows(downloads: Path, store: Callable[[str], Path]) -> list[dict[str, Any]]:
    """Every data set with all that is known of it, and what of it is on this machine.

    ``here`` is ``volume``, ``downloaded`` or empty; ``volumes`` are the stores that are made.
    """
    return [_row(entry, downloads, store) for entry in CATALOG.values()]


def table_row(row: dict[str, Any]) -> list[str]:
    """The cells of :data:`COLUMNS`."""
    voxel = "×".join(f"{side:g}" for side in row["voxel_size"])
    cells = [
        row["name"], row["tissue"], row["task"], voxel, row["shape"], row["licence"],
        row["got"], row["here"] or "-",
    ]  # fmt: skip
    return [cell if len(cell) <= _WIDEST else f"{cell[: _WIDEST - 1].rstrip()}…" for cell in cells]


def _row(entry: Entry, downloads: Path, store: Callable[[str], Path]) -> dict[str, Any]:
    stores = [
        store(volume_name(entry.name, recipe)) for recipe in entry.recipes if recipe.suffix != "*"
    ]
    if len(stores) < len(entry.recipes):  # one volume for each file of the source
        stores += sorted(store(f"{entry.name}-?").parent.parent.glob(f"{entry.name}-*/volume.zarr"))
    made = [str(each) for each in stores if _is_made(entry, each)]
    fetched = is_fetched(entry, downloads / entry.name)
    return {
        "name": entry.name,
        "title": entry.title,
        "tissue": entry.tissue,
        "task": entry.task,
        "voxel_size": entry.voxel_size,
        "shape": entry.shape_text,
        "licence": entry.licence,
        "citation": entry.citation,
        "page": entry.page,
        "got": entry.got,
        "how": entry.how,
        "official_split": entry.official_split,
        "split": {volume_name(entry.name, each): each.split for each in entry.recipes},
        "ids": entry.ids,
        "files": [
            {"name": each.name, "url": each.url, "checksum": each.checksum or "recorded",
             "checksum_from": each.checksum_from}
            for each in entry.downloads
        ],
        "verified": entry.verified,
        "here": "volume" if made else "downloaded" if fetched else "",
        "volumes": made,
    }  # fmt: skip


def _is_made(entry: Entry, store: Path) -> bool:
    try:
        return is_volume_of(entry, store)
    except InputError:  # something else is there
        return False
