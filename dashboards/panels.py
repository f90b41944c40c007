"""One evaluated slice as pictures: image, ground truth, prediction, errors."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from emsam.data.store import Volume
from emsam.errors import InputError
from emsam.segment import figures
from emsam.settings import Settings
from emsam.train.run_directory import RunDirectory

PANELS = ("image", "ground truth", "prediction", "errors")


@dataclass(frozen=True)
class SliceMasks:
    """One slice: image (y, x) float32 in [0, 1], instance ids ``truth`` and ``pred`` (y, x)."""

    image: np.ndarray
    truth: np.ndarray
    pred: np.ndarray


def evaluated_slices(entry: dict[str, Any]) -> list[int]:
    """Slices of an entry of ``scores.json``, in the order of their pages in the prediction."""
    return list(dict.fromkeys(row["z"] for row in entry["rows"]))


def slice_scores(entry: dict[str, Any], z: int) -> dict[str, float | None]:
    """Scores of slice ``z`` by metric variant."""
    return {row["metric"]: row["value"] for row in entry["rows"] if row["z"] == z}


def read_slice(run: RunDirectory, entry: dict[str, Any], z: int, settings: Settings) -> SliceMasks:
    """Slice ``z`` of the volume and of the prediction that was scored; nothing else is read.

    Raises
    ------
    InputError
        Volume or prediction is missing, or they do not fit each other.
    """
    name = str(entry["data"])
    if Path(name).name != name or name in {"", ".", ".."}:
        raise InputError(f"{run.scores_file}: {name!r} is no name of a volume; evaluate again")
    volume = Volume(settings.volume_path(name))
    pred = _read_prediction(run, entry, z)
    if z >= volume.shape[0] or pred.shape != volume.shape[1:]:
        raise InputError(
            f"{run.path}: predictions of {name} have slices of {pred.shape}, the volume is now "
            f"{volume.shape}; run 'emsam evaluate {run.path} --data {name}' again"
        )
    return SliceMasks(volume.image(z), volume.labels(entry["task"], z), pred)


def draw_panels(masks: SliceMasks) -> list[bytes]:
    """The pictures of :data:`PANELS` as PNG files."""
    return [_png(each) for each in figures.draw_panels(masks.image, masks.truth, masks.pred)]


def _read_prediction(run: RunDirectory, entry: dict[str, Any], z: int) -> np.ndarray:
    """Predicted ids (y, x) of slice ``z``: one page of the TIFF."""
    path = run.predictions / f"{entry['data']}-{entry['split']}.tif"
    again = f"run 'emsam evaluate {run.path} --data {entry['data']} --split {entry['split']}' again"
    if not path.resolve().is_relative_to(run.path.resolve()):
        raise InputError(f"{path}: outside of its run directory; {again}")
    slices = evaluated_slices(entry)
    try:
        with tifffile.TiffFile(path) as stack:
            if len(stack.pages) == len(slices):
                return np.asarray(stack.pages[slices.index(z)].asarray())
    except (OSError, tifffile.TiffFileError):
        raise InputError(f"{path}: cannot be read; {again}") from None
    raise InputError(f"{path}: does not hold one page for each scored slice; {again}")


def _png(picture: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "png", compress_level=1)
    return stream.getvalue()
