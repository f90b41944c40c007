"""Small pictures of slices and objects, as PNG in a ``data:`` address."""

from __future__ import annotations

import base64

import imagecodecs
import numpy as np
from scipy.ndimage import binary_dilation

from emsam.data.store import Volume, rescale

OUTLINE = (230, 159, 0)
"""Orange of Okabe & Ito's palette."""
_SIDE = 256
_MARGIN = 24


def slice_picture(volume: Volume, z: int) -> str:
    """Slice ``z``, from the coarsest level of the pyramid."""
    plane = volume.stored("image", z, z, level=-1)[0]
    return _address(_grey(plane, volume))


def object_picture(volume: Volume, task: str, z: int, number: int) -> str:
    """Object ``number`` of slice ``z`` with what lies around it, outlined in orange."""
    inside = volume.stored(f"labels/{task}", z, z)[0] == number
    window = tuple(
        slice(max(0, int(where[0]) - _MARGIN), int(where[-1]) + _MARGIN)
        for where in (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    )
    inside = inside[window]
    step = max(1, -(-max(inside.shape) // _SIDE))
    grey = _grey(volume.stored("image", z, z)[0][window][::step, ::step], volume)
    inside = inside[::step, ::step]
    picture = np.repeat(grey[..., None], 3, axis=2)
    picture[binary_dilation(inside) & ~inside] = OUTLINE
    return _address(picture)


def _grey(plane: np.ndarray, volume: Volume) -> np.ndarray:
    return (rescale(plane, volume.info.intensity) * 255).astype(np.uint8)


def _address(picture: np.ndarray) -> str:
    png = bytes(imagecodecs.png_encode(np.ascontiguousarray(picture)))
    return "data:image/png;base64," + base64.b64encode(png).decode()
