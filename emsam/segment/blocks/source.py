"""The image and the mask of a job, read box by box."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np

from emsam.data.readers.regions import open_regions
from emsam.data.readers.stack import Stack
from emsam.data.readers.zarr_array import ZarrStack
from emsam.data.store import Volume, intensity_range, rescale, sample_grey
from emsam.errors import DamagedInput, InputError
from emsam.segment.blocks.grid import Box
from emsam.segment.blocks.job import Damaged, Job

_SAMPLED = 64
"""Slices that are looked at for the range of grey values."""
_BAND = 64 << 20
"""Bytes of a slice that are read together for it."""


class Source:
    """Reads a job's image and mask; several threads may share it."""

    def __init__(self, job: Job, fetched: Path) -> None:
        self._job = job
        self._stack, _ = open_regions(job.image, fetched)
        self._mask = open_regions(job.mask, fetched)[0] if job.mask else None
        self._locks = {id(each): _lock_of(each) for each in (self._stack, self._mask) if each}

    def close(self) -> None:
        """Let go of files."""
        for each in (self._stack, self._mask):
            if each is not None:
                each.close()

    def image(self, z: int, box: Box) -> tuple[np.ndarray, list[Box]]:
        """Grey values of a box in [0, 1], float32, and what of the slice is damaged in it.

        Raises
        ------
        InputError
            Values that are not finite, damage unless the job skips it, whatever S3 refuses.
        """
        plane, damaged = self._read(z, box, self._job.damaged)
        if plane.dtype.kind == "f" and not np.isfinite(plane).all():
            raise InputError(
                f"{self._stack.name}: slice {z} holds NaN or infinite values; replace them"
            )
        return rescale(plane, self._job.intensity), damaged

    def mask(self, z: int, box: Box) -> np.ndarray | None:
        """Where a box is to be segmented; ``None`` if everywhere.

        A mask may be coarser than the image by whole factors.
        """
        if self._mask is None:
            return None
        factors = mask_factors(self._mask, self._job.shape)
        spans = [(box.y0, box.y1, factors[1]), (box.x0, box.x1, factors[2])]
        (y, y_at), (x, x_at) = (
            (slice(first // f, (end - 1) // f + 1), np.arange(first, end) // f - first // f)
            for first, end, f in spans
        )
        with self._locks[id(self._mask)]:
            coarse = self._mask.region(z // factors[0], y, x) != 0
        found: np.ndarray = coarse[np.ix_(y_at, x_at)]
        return found

    def _read(self, z: int, box: Box, policy: Damaged) -> tuple[np.ndarray, list[Box]]:
        with self._locks[id(self._stack)]:
            try:
                return self._stack.region(z, *_slices(box)), []
            except DamagedInput:
                if policy == "stop":
                    raise
            return self._read_in_pieces(z, box)

    def _read_in_pieces(self, z: int, box: Box) -> tuple[np.ndarray, list[Box]]:
        """What can be decoded; damaged chunks are 0."""
        plane = np.zeros(box.shape, self._stack.dtype.newbyteorder("="))
        damaged = []
        for chunk in _chunks(self._stack, box):
            part = chunk.common(box)
            try:
                plane[part.inside(box)] = self._stack.region(z, *_slices(part))
            except DamagedInput:
                damaged.append(chunk)
        return plane, damaged


def find_intensity(stack: Stack, location: str) -> tuple[float, float]:
    """Grey values that become 0 and 1: what a volume store says, else from up to 64 slices.

    Raises
    ------
    InputError
        Values that are not finite.
    """
    folder = Path(location)
    if (folder / "zarr.json").is_file():
        try:
            return Volume(folder).info.intensity
        except InputError:
            pass  # a Zarr of somebody else
    if stack.dtype == np.uint8:
        return intensity_range(stack.dtype, np.empty(0))
    depth, height, width = stack.shape
    planes = np.unique(np.linspace(0, depth - 1, min(depth, _SAMPLED)).astype(int))
    rows = max(1, _BAND // (width * stack.dtype.itemsize))
    samples = []
    for z in map(int, planes):
        for y in range(0, height, rows):
            band = stack.region(z, slice(y, min(y + rows, height)), slice(0, width))
            if not np.isfinite(band).all():
                raise InputError(
                    f"{stack.name}: slice {z} holds NaN or infinite values; replace them"
                )
            samples.append(sample_grey(band, z, len(planes) * -(-height // rows)))
    return intensity_range(stack.dtype, np.concatenate(samples))


def mask_factors(mask: Stack, shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """By how much a mask is coarser than an image of ``shape``, along z, y and x.

    Raises
    ------
    InputError
        By no whole number.
    """
    factors = tuple(
        max(1, round(full / coarse)) for full, coarse in zip(shape, mask.shape, strict=True)
    )
    if any(-(-n // f) != m for n, f, m in zip(shape, factors, mask.shape, strict=True)):
        raise InputError(
            f"{mask.name}: shape {mask.shape} is not that of the image, {shape}, nor a whole "
            "fraction of it; give a mask on the same grid"
        )
    return factors[0], factors[1], factors[2]


def _lock_of(stack: Stack) -> AbstractContextManager[object]:
    """Files are read by one thread at a time; a Zarr array by as many as like."""
    return nullcontext() if isinstance(stack, ZarrStack) else threading.RLock()


def _slices(box: Box) -> tuple[slice, slice]:
    return slice(box.y0, box.y1), slice(box.x0, box.x1)


def _chunks(stack: Stack, box: Box) -> Iterator[Box]:
    """Chunks that meet ``box``."""
    _, tall, wide = stack.chunk
    whole = Box(0, stack.shape[1], 0, stack.shape[2])
    for y in range(box.y0 // tall * tall, box.y1, tall):
        for x in range(box.x0 // wide * wide, box.x1, wide):
            yield Box(y, y + tall, x, x + wide).common(whole)
