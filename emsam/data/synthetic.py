"""A synthetic EM volume: an embedded default that shows what real volumes show.

Neurites are the cells of a power diagram whose seeds wander from slice to slice, cut out of a
warped plane, with dark membranes between them; mitochondria are dark, striped ellipsoids inside
some of them. The image has the faults of a microscope: noise, contrast that drifts along z,
voxels longer in z than in the plane, and a missing section.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter, zoom
from scipy.spatial import cKDTree

from emsam.data.halving import image_levels
from emsam.data.ingest import existing_volume
from emsam.data.new_store import new_store
from emsam.data.splits import default_splits
from emsam.data.store import Volume, VolumeInfo
from emsam.data.writer import VolumeWriter
from emsam.errors import InputError
from emsam.progress import Progress

VOXEL_SIZE = (30.0, 8.0, 8.0)
"""z, y, x in nm: sections thicker than a pixel is wide."""
_VERSION = 1
_MEMBRANE = 2.2
"""Half the thickness of a membrane, pixels."""
_CELL = 34.0
"""Distance between seeds, pixels."""


@dataclass
class _Scene:
    """Geometry that is drawn once: where seeds and mitochondria are in every slice."""

    seeds: np.ndarray  # (z, n, 2) positions, pixels
    shade: np.ndarray  # (n,) grey of each cytoplasm
    mitochondria: np.ndarray  # (m, 7): seed, z centre, y and x offset, z, y and x radius
    missing: int


def synthesize_volume(
    name: str,
    store: Path,
    *,
    shape: tuple[int, int, int] = (32, 256, 256),
    seed: int = 0,
    progress: Progress | None = None,
) -> Volume:
    """Write a synthetic volume with labels of both tasks; the same seed gives the same voxels.

    Parameters
    ----------
    shape
        z, y, x in voxels; at least 8 × 64 × 64.
    seed
        Of all randomness.

    Raises
    ------
    InputError
        A shape that is too small, a negative seed, or a store that holds something else.
    """
    if shape[0] < 8 or min(shape[1:]) < 64:
        raise InputError(f"--shape {','.join(map(str, shape))}: at least 8,64,64 voxels are needed")
    if seed < 0:
        raise InputError(f"--seed {seed}: 0 or greater")
    recipe = json.dumps({"synthetic": _VERSION, "shape": shape, "seed": seed})
    if (existing := existing_volume(store, recipe)) is not None:
        return existing
    rng = np.random.default_rng(seed)
    scene = _draw_scene(rng, shape)
    types = {task: np.dtype(np.uint32) for task in ("neurites", "mitochondria")}
    with (
        new_store(store, size=2 * 9 * math.prod(shape)) as part,
        VolumeWriter(part.path, shape, np.dtype(np.uint8), types) as writer,
    ):
        for z in range(shape[0]):
            image, labels = _render_slice(rng, scene, shape, z)
            writer.append(image_levels(image), labels)
            if progress:
                progress(z + 1, shape[0])
        writer.finish(_describe(name, shape, scene, recipe))
    return Volume(store)


def _describe(name: str, shape: tuple[int, int, int], scene: _Scene, recipe: str) -> VolumeInfo:
    return VolumeInfo(
        name=name,
        voxel_size=VOXEL_SIZE,
        splits=default_splits(shape[0]),
        missing=(scene.missing,),
        known_missing=(scene.missing,),
        unlabelled={"neurites": (scene.missing,)},
        source=recipe,
        licence="CC0-1.0",
    )


def _draw_scene(rng: np.random.Generator, shape: tuple[int, int, int]) -> _Scene:
    depth, height, width = shape
    area = (height + 2 * _CELL) * (width + 2 * _CELL)
    count = max(8, round(area / _CELL**2))
    start = rng.uniform(-_CELL, [height + _CELL, width + _CELL], size=(count, 2))
    steps = gaussian_filter(rng.normal(0, 4.0, size=(depth, count, 2)), (2.0, 0, 0))
    seeds = start + np.cumsum(steps, axis=0)
    mito_count = max(4, round(count * depth / 8))
    owner = rng.integers(count, size=mito_count)
    centre = rng.uniform(0, depth, mito_count)
    offset = rng.normal(0, _CELL / 8, size=(mito_count, 2))
    radius = np.stack(
        [
            rng.uniform(2.0, 5.0, mito_count),
            rng.uniform(5.5, 9.5, mito_count),
            rng.uniform(5.5, 9.5, mito_count),
        ],
        axis=1,
    )
    return _Scene(
        seeds=seeds,
        shade=rng.normal(0.62, 0.045, size=count),
        mitochondria=np.column_stack([owner, centre, offset, radius]),
        missing=int(depth * 0.3),
    )


def _render_slice(
    rng: np.random.Generator, scene: _Scene, shape: tuple[int, int, int], z: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Image (uint8) and labels of slice ``z``. Random numbers are drawn even for a lost slice."""
    height, width = shape[1:]
    warp = np.stack([_smooth_noise(rng, (height, width), 24) for _ in range(2)]) * 7.0
    yx = np.mgrid[:height, :width] + warp  # (2, y, x)
    distance, nearest = cKDTree(scene.seeds[z]).query(yx.reshape(2, -1).T, k=2)
    gap = (distance[:, 1] - distance[:, 0]).reshape(height, width)
    cell = nearest[:, 0].reshape(height, width)
    interior = gap > 2 * _MEMBRANE
    mitochondria = _render_mitochondria(scene, z, yx, cell, gap)
    image = scene.shade[cell] + 0.05 * _smooth_noise(rng, (height, width), 3)
    image = np.where(mitochondria > 0, 0.42 + 0.06 * np.sin(yx[0] * 1.3 + yx[1] * 0.4), image)
    image -= 0.42 * np.exp(-((gap / (2.2 * _MEMBRANE)) ** 2))
    image = gaussian_filter(image, 0.8)
    drift = 1.0 + 0.18 * np.sin(2 * np.pi * z / 17.0)
    image = 0.5 + (image - 0.5) * drift + 0.05 * np.sin(2 * np.pi * z / 11.0)
    image += rng.normal(0, 0.06, size=image.shape)
    neurites = np.where(interior, cell + 1, 0).astype(np.uint32)
    if z == scene.missing:
        empty = np.zeros((height, width), np.uint32)
        return np.zeros((height, width), np.uint8), {"neurites": empty, "mitochondria": empty}
    return (
        (np.clip(image, 0, 1) * 255).round().astype(np.uint8),
        {"neurites": neurites, "mitochondria": mitochondria},
    )


def _render_mitochondria(
    scene: _Scene, z: int, yx: np.ndarray, cell: np.ndarray, gap: np.ndarray
) -> np.ndarray:
    """Ids (uint32) of the mitochondria that cross slice ``z``, kept off the membranes."""
    ids = np.zeros(cell.shape, np.uint32)
    for number, (owner, centre, dy, dx, rz, ry, rx) in enumerate(scene.mitochondria, start=1):
        if abs(z - centre) >= rz:
            continue
        y0, x0 = scene.seeds[z, int(owner)] + (dy, dx)
        reach = ((yx[0] - y0) / ry) ** 2 + ((yx[1] - x0) / rx) ** 2 + ((z - centre) / rz) ** 2
        ids[(reach < 1) & (cell == int(owner)) & (gap > 3 * _MEMBRANE) & (ids == 0)] = number
    return ids


def _smooth_noise(rng: np.random.Generator, shape: tuple[int, int], scale: int) -> np.ndarray:
    """Noise of unit variance whose features are about ``scale`` pixels wide."""
    coarse = rng.normal(size=[side // scale + 3 for side in shape])
    return zoom(coarse, scale, order=3 if scale > 8 else 1)[: shape[0], : shape[1]]
