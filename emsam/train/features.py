"""The frozen encoder's features of every training patch, computed once.

With the encoder frozen, its taps of a patch never change. They are kept in a Zarr array, an entry
for each place of the grid in each orientation: an encoder does not turn its features when its
image is turned, so flips and turns are entries of their own. Grey values cannot be augmented.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import zarr

from emsam.data.patches import PatchSampler, Place
from emsam.documents import document_digest
from emsam.errors import InputError
from emsam.locks import try_lock
from emsam.model.build import build_model
from emsam.model.sam_network import SamNetwork
from emsam.params import Params
from emsam.progress import Progress

Encode = Callable[[torch.Tensor], list[torch.Tensor]]

_AT_ONCE = 8
"""Patches that the encoder sees at a time."""


def feature_key(params: Params, weights: str, digest: str) -> dict[str, Any]:
    """Everything that cached features depend on.

    Parameters
    ----------
    weights
        sha256 of the encoder's weights.
    digest
        Data set version, ``"<md5>.dir"``.
    """
    with torch.device("meta"):
        model = build_model(params)
    assert isinstance(model, SamNetwork)  # params allow no other
    return {
        "encoder": params.model.encoder,
        "weights": weights,
        "data": digest,
        "task": params.task,
        "taps": list(model.taps),
        "position": params.model.name == "emsam",
        "patch": params.train.patch,
        "flips": params.augment.flips,
        "precision": params.train.precision,
    }


def features_path(root: Path, key: dict[str, Any]) -> Path:
    """Folder of the features of ``key`` below ``root``."""
    return root / f"{key['encoder']}-{document_digest(key)[:16]}.zarr"


class FeatureCache:
    """Whole cached features, for reading.

    Parameters
    ----------
    path
        A Zarr array that :func:`compute_features` wrote.
    key
        See :func:`feature_key`.
    places
        The grid in the order in which it was computed.

    Raises
    ------
    InputError
        No features there, or features of something else; the first difference is named.
    """

    def __init__(self, path: Path, key: dict[str, Any], places: Sequence[Place]) -> None:
        if not path.exists():
            raise InputError(f"{path}: no cached features; compute them with 'emsam features'")
        self._array = zarr.open_array(path, mode="r")
        found = cast("dict[str, Any]", self._array.attrs["key"])
        for name, wanted in key.items():
            if found.get(name) != wanted:
                raise InputError(
                    f"{path}: features of {name} = {found.get(name)}, this run has {wanted}; "
                    "compute them again with 'emsam features'"
                )
        self._index = {place: index for index, place in enumerate(places)}

    def read(self, places: Sequence[Place]) -> np.ndarray:
        """(n, taps, width, y / 16, x / 16) float32."""
        return np.stack([np.asarray(self._array[self._index[place]]) for place in places])


def compute_features(
    path: Path,
    key: dict[str, Any],
    encode: Encode,
    sampler: PatchSampler,
    progress: Progress | None = None,
) -> int:
    """Write the features of every place of the grid; goes on where it was interrupted.

    Parameters
    ----------
    encode
        Maps (n, 1, y, x) images to taps, each (n, width, y / 16, x / 16).

    Returns
    -------
    int
        Bytes of the array.

    Raises
    ------
    InputError
        Another process computes the same.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with try_lock(path.with_name(f".{path.name}.lock")) as free:
        if not free:
            raise InputError(f"{path}: another process computes it; wait until it is done")
        if not path.exists():
            _compute(path, key, encode, sampler, progress)
    return int(zarr.open_array(path, mode="r").nbytes)


def _compute(
    path: Path,
    key: dict[str, Any],
    encode: Encode,
    sampler: PatchSampler,
    progress: Progress | None,
) -> None:
    places = sampler.grid_places()
    temporary = path.with_name(f".{path.name}.part")
    array = None
    done = 0
    if temporary.exists():
        array = zarr.open_array(temporary, mode="r+")
        done = cast("int", array.attrs["done"])
    for start in range(done, len(places), _AT_ONCE):
        some = places[start : start + _AT_ONCE]
        images = np.stack([sampler.image(place) for place in some])
        with torch.inference_mode():
            taps = torch.stack(encode(torch.from_numpy(images)[:, None]), dim=1)
        values = taps.float().cpu().numpy()  # (n, taps, width, y/16, x/16)
        if array is None:
            array = _create(temporary, key, (len(places), *values.shape[1:]))
        array[start : start + len(some)] = values
        array.attrs["done"] = start + len(some)
        if progress:
            progress(start + len(some), len(places))
    temporary.rename(path)


def _create(path: Path, key: dict[str, Any], shape: tuple[int, ...]) -> zarr.Array[Any]:
    return zarr.create_array(
        path,
        shape=shape,
        chunks=(1, *shape[1:]),
        dtype="float32",
        compressors=None,
        chunk_key_encoding={"name": "default", "separator": "."},  # no folders in folders
        attributes={"key": key, "done": 0},
    )
