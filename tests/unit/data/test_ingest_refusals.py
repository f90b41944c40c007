"""Sources that ingest does not take: one line, and nothing is written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from emsam.data.ingest import Source, ingest_volume
from emsam.errors import InputError
from tests.unit.data.conftest import VOXEL

Snapshot = Callable[[Path], dict[str, bytes | None]]
Spoil = Callable[[Source, np.ndarray, np.ndarray], Source | None]


def no_image(source: Source, grey: np.ndarray, ids: np.ndarray) -> None:
    source.image.unlink()


def no_labels(source: Source, grey: np.ndarray, ids: np.ndarray) -> None:
    source.labels["neurites"].unlink()


def colour_image(source: Source, grey: np.ndarray, ids: np.ndarray) -> None:
    tifffile.imwrite(source.image, np.stack([grey] * 3, axis=-1), photometric="rgb")


def float_labels(source: Source, grey: np.ndarray, ids: np.ndarray) -> None:
    tifffile.imwrite(source.labels["neurites"], ids.astype(np.float32))


def negative_ids(source: Source, grey: np.ndarray, ids: np.ndarray) -> None:
    wrong = ids.astype(np.int32)
    wrong[4, 0, 0] = -1
    tifffile.imwrite(source.labels["neurites"], wrong, photometric="minisblack")


def other_shape(source: Source, grey: np.ndarray, ids: np.ndarray) -> None:
    tifffile.imwrite(source.labels["neurites"], ids[:, :-1], photometric="minisblack")


def fewer_slices(source: Source, grey: np.ndarray, ids: np.ndarray) -> None:
    tifffile.imwrite(source.labels["neurites"], ids[:-1], photometric="minisblack")


def all_zero_labels(source: Source, grey: np.ndarray, ids: np.ndarray) -> None:
    tifffile.imwrite(source.labels["neurites"], ids * 0, photometric="minisblack")


def nan_image(source: Source, grey: np.ndarray, ids: np.ndarray) -> None:
    wrong = grey.astype(np.float32)
    wrong[3, 1, 1] = np.nan
    tifffile.imwrite(source.image, wrong)


def infinite_image(source: Source, grey: np.ndarray, ids: np.ndarray) -> None:
    wrong = grey.astype(np.float64)
    wrong[4, 1, 1] = -np.inf
    tifffile.imwrite(source.image, wrong)


def signed_image(source: Source, grey: np.ndarray, ids: np.ndarray) -> None:
    tifffile.imwrite(source.image, grey.astype(np.int16) - 1, photometric="minisblack")


def header_only(source: Source, grey: np.ndarray, ids: np.ndarray) -> None:
    os.truncate(source.image, 8)


def half_an_image(source: Source, grey: np.ndarray, ids: np.ndarray) -> None:
    os.truncate(source.image, source.image.stat().st_size // 2)


def last_page_cut(source: Source, grey: np.ndarray, ids: np.ndarray) -> None:
    with tifffile.TiffWriter(source.image) as writer:
        for plane in grey:
            writer.write(plane, contiguous=False, metadata=None, compression="zlib")
    with tifffile.TiffFile(source.image) as file:
        end = file.pages[-1].dataoffsets[0] + 5
    os.truncate(source.image, end)


def labels_cut(source: Source, grey: np.ndarray, ids: np.ndarray) -> None:
    path = source.labels["neurites"]
    os.truncate(path, path.stat().st_size // 3)


def unknown_task(source: Source, grey: np.ndarray, ids: np.ndarray) -> Source:
    return Source(source.image, {"dendrites": source.labels["neurites"]}, VOXEL)


def no_voxel_size(source: Source, grey: np.ndarray, ids: np.ndarray) -> Source:
    return Source(source.image, source.labels, (30.0, 0.0, 8.0))


def split_outside(source: Source, grey: np.ndarray, ids: np.ndarray) -> Source:
    return Source(source.image, source.labels, VOXEL, split="train=0-9")


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (no_image, "em.tif"),
        (no_labels, "ids.tif"),
        (colour_image, "em.tif"),
        (signed_image, "em.tif"),
        (float_labels, "ids.tif"),
        (negative_ids, "ids.tif"),
        (other_shape, "ids.tif"),
        (fewer_slices, "ids.tif"),
        (all_zero_labels, "ids.tif"),
        (nan_image, "em.tif"),
        (infinite_image, "em.tif"),
        (header_only, "em.tif"),
        (half_an_image, "em.tif"),
        (last_page_cut, "em.tif"),
        (labels_cut, "ids.tif"),
        (unknown_task, "dendrites"),
        (no_voxel_size, "--voxel-size"),
        (split_outside, "train=0-9"),
    ],
)
@pytest.mark.parametrize("parent_exists", [False, True])
def test_a_refusal_is_one_line_and_leaves_nothing(
    spoil: Spoil,
    named: str,
    parent_exists: bool,
    source: Source,
    store: Path,
    tmp_path: Path,
    grey_stack: np.ndarray,
    id_stack: np.ndarray,
    tree_of: Snapshot,
) -> None:
    if parent_exists:
        store.parent.mkdir(parents=True)
        (store.parent / "notes.txt").write_text("mine")
    spoilt = spoil(source, grey_stack, id_stack) or source
    before = tree_of(tmp_path)
    with pytest.raises(InputError) as caught:
        ingest_volume("ca1", spoilt, store)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)
    assert tree_of(tmp_path) == before


def test_a_store_that_is_no_volume_is_left_alone(source: Source, store: Path) -> None:
    store.parent.mkdir(parents=True)
    store.write_text("something else")
    with pytest.raises(InputError, match=str(store)):
        ingest_volume("ca1", source, store)
    assert store.read_text() == "something else"
