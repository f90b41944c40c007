"""Volumes of this machine, their published versions, and what a check saw of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emsam.data.pyramid import pyramid_levels
from emsam.data.store import Volume
from emsam.errors import InputError, VersioningFailed
from emsam.settings import Settings
from emsam.versioning import DatasetVersion, versions

_SIDE = 1024
"""Pixels of a preview's longer side, at most."""


@dataclass(frozen=True)
class CheckReport:
    """What ``emsam data check`` kept.

    Attributes
    ----------
    document
        As :func:`emsam.data.checks.report.report` has it.
    is_old
        Whether the volume was written again since.
    """

    document: dict[str, Any]
    is_old: bool


def volume_names(settings: Settings) -> list[str]:
    """Volumes of this machine."""
    return sorted(path.parent.name for path in settings.data_root.glob("*/volume.zarr"))


def published(name: str) -> tuple[list[DatasetVersion], str]:
    """Published versions, the newest first; or why there are none to be seen."""
    try:
        found = versions(name)
    except (InputError, VersioningFailed) as error:
        return [], str(error)
    return found[::-1], "" if found else f"Not published yet: run 'emsam data publish {name}'."


def check_report(name: str, settings: Settings) -> CheckReport | None:
    """The report of the last check; ``None`` if there is none that can be read."""
    file = settings.check_file(name)
    try:
        document = json.loads(file.read_text())
        written = (settings.volume_path(name) / "zarr.json").stat().st_mtime
        return CheckReport(document, is_old=file.stat().st_mtime < written)
    except (OSError, ValueError):
        return None


def preview(volume: Volume, z: int, task: str | None) -> tuple[np.ndarray, np.ndarray | None]:
    """A slice at the finest level that is not larger than a screen.

    Returns
    -------
    image : ndarray
        (y, x) as it is stored.
    labels : ndarray or None
        Ids of ``task`` on the same pixels.
    """
    level = 0
    while max(volume.shape[1:]) >> level > _SIDE and level + 1 < pyramid_levels(volume.shape):
        level += 1
    image = volume.stored("image", z, z, level)[0]
    labels = volume.stored(f"labels/{task}", z, z, level)[0] if task else None
    return image, labels


def volume_folder(name: str, settings: Settings) -> Path:
    """Store of a volume; kept to names, so that a link cannot lead elsewhere.

    Raises
    ------
    InputError
        Not the name of a volume of this machine.
    """
    if name not in volume_names(settings):
        raise InputError(f"{name}: no volume in {settings.data_root}")
    return settings.volume_path(name)
