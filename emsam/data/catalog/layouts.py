"""The layouts of the sources, each with its quirks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from emsam.data.catalog.coloured_png import ColouredPngStack
from emsam.data.catalog.components import ConnectedParts
from emsam.data.catalog.stacks import Changed, Cropped
from emsam.data.readers import Stack, open_stack
from emsam.data.readers.folder import SLICE_SUFFIXES, open_slices, slice_numbers
from emsam.data.readers.stack import reading
from emsam.errors import InputError

_CREMI_MAX_ID = 0xFFFF_FFFF_FFFF_FFFC
"""Above it are the label editor's transparent, invalid and outside: -1, -2 and -3."""
Files = Sequence[Path]


@dataclass(frozen=True)
class Ids:
    """Ids as they are stored, in a file or in a file for each slice.

    ``image_at`` and ``labels_at`` are data sets of an HDF5 file.
    """

    image_at: str = ""
    labels_at: str = ""

    def image(self, image: Files, labels: Files) -> Stack:
        return _open(image, self.image_at)

    def ids(self, image: Files, labels: Files) -> Stack:
        _refuse_other_slices(image, labels)
        return _open(labels, self.labels_at)


@dataclass(frozen=True)
class Mask:
    """A black and white mask, whose connected parts become instances.

    ``background`` are the values that are no object.
    """

    through_slices: bool
    background: tuple[int, ...] = (0,)

    def image(self, image: Files, labels: Files) -> Stack:
        return _open(image)

    def ids(self, image: Files, labels: Files) -> Stack:
        in_colour = labels[0].suffix.lower() == ".png"
        mask = ColouredPngStack(labels, labels[0].parent.name) if in_colour else _open(labels)
        return ConnectedParts(mask, through_slices=self.through_slices, background=self.background)


@dataclass(frozen=True)
class Cremi:
    """CREMI's HDF5: in the padded version the labels begin at their attribute ``offset`` (nm).

    Source: https://cremi.org/data, "Data Format Specification". The highest ids mean no neuron.
    """

    image_at: str = "/volumes/raw"
    labels_at: str = "/volumes/labels/neuron_ids"

    def image(self, image: Files, labels: Files) -> Stack:
        raw = _open(image, self.image_at)
        name, path = raw.name, image[0]
        with reading(name, "CREMI's HDF5"), h5py.File(path, "r") as file:
            if self.labels_at not in file:
                raise InputError(f"{name}: no data set {self.labels_at}; take the training volume")
            of_labels = file[self.labels_at]
            offset = np.asarray(of_labels.attrs.get("offset", (0, 0, 0)), float)
            voxel = np.asarray(of_labels.attrs.get("resolution", (40, 4, 4)), float)
            shape = of_labels.shape
        if not offset.any() and shape == raw.shape:
            return raw
        z, y, x = (round(float(each)) for each in offset / voxel)
        return Cropped(raw, (z, y, x), shape)

    def ids(self, image: Files, labels: Files) -> Stack:
        stored = _open(labels, self.labels_at)
        return Changed(stored, _without_special_ids, "CREMI's special ids are 0")


@dataclass(frozen=True)
class NeuroProof:
    """NeuroProof's HDF5: ``stack`` has pieces, ``transforms`` says to which neuron each belongs.

    Pieces that are not in the table are 0, as in torch-em's ``fib25.py``.
    """

    def image(self, image: Files, labels: Files) -> Stack:
        return _open(image, "raw")

    def ids(self, image: Files, labels: Files) -> Stack:
        pieces = _open(labels, "stack")
        with reading(pieces.name, "NeuroProof's HDF5"), h5py.File(labels[0], "r") as file:
            table = np.asarray(file["transforms"]) if "transforms" in file else None
        if table is None or table.ndim != 2 or table.shape[1] != 2:
            raise InputError(
                f"{pieces.name}: no table 'transforms' of pieces and neurons; take the file "
                "'groundtruth.h5' of the source"
            )
        order = np.argsort(table[:, 0], kind="stable")
        piece, neuron = table[order, 0], table[order, 1]

        def neurons(plane: np.ndarray) -> np.ndarray:
            where = np.searchsorted(piece, plane).clip(max=len(piece) - 1)
            return np.where(piece[where] == plane, neuron[where], 0).astype(neuron.dtype)

        return Changed(pieces, neurons, "neurons of pieces", neuron.dtype)


@dataclass(frozen=True)
class Padded:
    """HDF5 files with one data set each; an image has ``margin`` (z, y, x) around what is labelled.

    The labels may have the margin, too; it is cut off from both.
    """

    at: str
    margin: tuple[int, int, int]

    def image(self, image: Files, labels: Files) -> Stack:
        return self._without_margin(_open(image, self.at))

    def ids(self, image: Files, labels: Files) -> Stack:
        stored = _open(labels, self.at)
        with _open(image, self.at) as whole:
            return self._without_margin(stored) if stored.shape == whole.shape else stored

    def _without_margin(self, stack: Stack) -> Stack:
        depth, height, width = (
            side - 2 * margin for side, margin in zip(stack.shape, self.margin, strict=True)
        )
        if min(depth, height, width) < 1:
            stack.close()
            raise InputError(
                f"{stack.name}: shape {stack.shape} has no room for the margin {self.margin} of "
                "this source; take its padded files"
            )
        return Cropped(stack, self.margin, (depth, height, width))


def _open(files: Files, inner: str = "") -> Stack:
    """A file, or slices; named after the file or its folder."""
    first = files[0]
    if first.suffix.lower() in SLICE_SUFFIXES and len(files) > 1:
        return open_slices(list(files), first.parent.name)
    return open_stack(f"{first}:{inner}" if inner else first, name=first.name)


def _refuse_other_slices(image: Files, labels: Files) -> None:
    """Slices and their labels have the same numbers."""
    if len(image) == 1 and len(labels) == 1:
        return
    numbers = [{slice_numbers(path.stem) for path in files} for files in (image, labels)]
    if lonely := sorted(numbers[0] ^ numbers[1]):
        raise InputError(
            f"{image[0].parent.name} and {labels[0].parent.name}: slice "
            f"{'.'.join(map(str, lonely[0]))} is in one of them alone ({len(lonely)} such); "
            "files are missing, unpack the archives again"
        )


def _without_special_ids(plane: np.ndarray) -> np.ndarray:
    if plane.dtype != np.uint64:
        return plane
    return np.where(plane > np.uint64(_CREMI_MAX_ID), np.uint64(0), plane)
