"""Volumes in, ids out: the same whatever the blocks, the workers and the interruptions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow.parquet
import pytest
import tifffile
import zarr
from scipy.ndimage import gaussian_filter
from torch import nn

from emsam.data.readers import open_stack
from emsam.errors import InputError
from emsam.params import Params
from emsam.segment.blocks.options import Options
from emsam.segment.blocks.prepare import check_output
from emsam.segment.blocks.run import segment_volume
from emsam.segment.instances import make_instances
from emsam.segment.predict import predict_maps
from tests.plain_linking import link_slices

WriteTiff = Callable[..., Path]


@pytest.fixture
def tissue() -> np.ndarray:
    """Six slices of blobs, many of which go through slices and across any border."""
    noise = np.random.default_rng(4).normal(size=(6, 130, 170))
    smooth = gaussian_filter(noise, (1.2, 5, 5))
    return np.where(smooth > 0.2 * smooth.std(), 230, 20).astype(np.uint8)


def ids_of(out: Path) -> np.ndarray:
    with open_stack(out) as stack:
        return np.stack(list(stack))


def by_hand(tissue: np.ndarray, bright: nn.Module, params: Params, *, link: bool) -> np.ndarray:
    """Whole slices, one after the other."""
    planes = [
        make_instances(predict_maps(bright, (plane / 255).astype(np.float32), params), params)[0]
        for plane in tissue
    ]
    if link:
        tables = link_slices(planes, params.segment.link_overlap)
        return np.stack([table[ids] for table, ids in zip(tables, planes, strict=True)])
    first = np.cumsum([0, *(int(ids.max()) for ids in planes)])
    return np.stack([np.where(ids, ids + n, 0) for n, ids in zip(first, planes, strict=False)])


def assert_same_objects(a: np.ndarray, b: np.ndarray) -> None:
    """The same partition, however it is numbered."""
    pairs = np.unique(np.stack([a.ravel(), b.ravel()]), axis=1)
    assert len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]
    assert ((pairs[0] == 0) == (pairs[1] == 0)).all()


@pytest.mark.parametrize("link", [False, True])
@pytest.mark.parametrize("side", [2048, 60])
def test_blocks_give_what_whole_slices_give(
    tissue: np.ndarray, bright: nn.Module, bright_params: Params, write_tiff: WriteTiff,
    tmp_path: Path, side: int, link: bool,
) -> None:  # fmt: skip
    out = tmp_path / "ids.zarr"
    options = Options(link=link, side=side, overlap=24, workers=3)
    image = str(write_tiff("em.tif", tissue))
    about = segment_volume(bright, image, out, bright_params, options)
    ids, expected = ids_of(out), by_hand(tissue, bright, bright_params, link=link)
    if side == 2048:
        np.testing.assert_array_equal(ids, expected)
    else:
        assert_same_objects(ids, expected)
    assert about["objects"] == expected.max()
    assert {path.name for path in tmp_path.iterdir()} == {"input", "ids.zarr"}


def test_every_format_gives_the_same(
    tissue: np.ndarray, bright: nn.Module, bright_params: Params, write_tiff: WriteTiff,
    tmp_path: Path,
) -> None:  # fmt: skip
    with h5py.File(tmp_path / "em.h5", "w") as file:
        file.create_dataset("raw", data=tissue, chunks=(2, 64, 64))
    zarr.create_array(tmp_path / "em.zarr", data=tissue, chunks=(1, 64, 64), shards=(4, 128, 128))
    inputs = [
        str(write_tiff("em.tif", tissue, tile=(32, 32), compression="zlib")),
        f"{tmp_path}/em.h5:/raw",
        str(tmp_path / "em.zarr"),
    ]
    found = []
    for number, image in enumerate(inputs):
        out = tmp_path / f"{number}.zarr"
        segment_volume(bright, image, out, bright_params, Options(side=60, overlap=8))
        found.append(ids_of(out))
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_a_tiff_has_the_ids_of_each_slice_or_of_the_volume(
    bars: np.ndarray, bright: nn.Module, bright_params: Params, write_tiff: WriteTiff,
    tmp_path: Path,
) -> None:  # fmt: skip
    image, out, seen = str(write_tiff("em.tif", bars)), tmp_path / "ids.tif", []
    about = segment_volume(
        bright, image, out, bright_params, report=lambda *told: seen.append(told[:2])
    )
    assert (about["objects"], seen[-1]) == (1 + 2 + 3, (3, 3))
    with tifffile.TiffFile(out) as file:
        pages = [page.asarray() for page in file.pages]
    assert [int(page.max()) for page in pages] == [1, 2, 3]
    np.testing.assert_array_equal(np.stack(pages) > 0, bars > 100)
    options = Options(link=True, overwrite=True)
    assert segment_volume(bright, image, out, bright_params, options)["objects"] == 3
    ids = tifffile.imread(out)
    assert ids.dtype == np.uint32
    assert (ids[:, 10, 8] == ids[0, 10, 8]).all()
    assert (ids[1:, 10, 23] == ids[1, 10, 23]).all()
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["ids.tif"]


def test_the_table_says_what_the_ids_say(
    tissue: np.ndarray, bright: nn.Module, bright_params: Params, write_tiff: WriteTiff,
    tmp_path: Path,
) -> None:  # fmt: skip
    for link in (False, True):
        out = tmp_path / f"{link}.zarr"
        options = Options(link=link, side=60, overlap=24)
        segment_volume(bright, str(write_tiff("em.tif", tissue)), out, bright_params, options)
        ids, rows = ids_of(out), pyarrow.parquet.read_table(out / "objects.parquet").to_pylist()
        assert [row["id"] for row in rows] == list(range(1, int(ids.max()) + 1))
        for row in rows:
            where = np.argwhere(ids == row["id"])
            assert row["area"] == len(where)
            np.testing.assert_allclose([row[axis] for axis in "zyx"], where.mean(axis=0))
            assert [row[f"{axis}0"] for axis in "zyx"] == where.min(axis=0).tolist()
            assert [row[f"{axis}1"] for axis in "zyx"] == (where.max(axis=0) + 1).tolist()
            assert row["slices"] == len(np.unique(where[:, 0]))
            assert row["confidence"] > 0.9


def test_the_pyramid_has_every_second_id_and_says_where_it_lies(
    tissue: np.ndarray, bright: nn.Module, bright_params: Params, tmp_path: Path,
    write_tiff: WriteTiff,
) -> None:  # fmt: skip
    image, out = str(write_tiff("em.tif", np.tile(tissue, (1, 3, 2)))), tmp_path / "ids.zarr"
    segment_volume(bright, image, out, bright_params, Options(roi="2:5,7:380,8:340"))
    group = zarr.open_group(out, mode="r")
    levels = [np.asarray(group[str(level)]) for level in range(2)]
    assert levels[0].shape == (3, 373, 332)
    np.testing.assert_array_equal(levels[1], levels[0][:, ::2, ::2])
    for dataset in group.attrs["ome"]["multiscales"][0]["datasets"]:
        assert dataset["coordinateTransformations"][1]["translation"] == [2, 7, 8]


def test_a_region_and_single_slices_show_what_the_whole_shows(
    tissue: np.ndarray, bright: nn.Module, bright_params: Params, write_tiff: WriteTiff,
    tmp_path: Path,
) -> None:  # fmt: skip
    image = str(write_tiff("em.tif", tissue))
    whole, part = tmp_path / "whole.zarr", tmp_path / "part.zarr"
    segment_volume(bright, image, whole, bright_params)
    options = Options(roi="1:6,11:101,:", slices="1,4-5")
    about = segment_volume(bright, image, part, bright_params, options)
    ids = ids_of(part)
    assert (ids.shape, about["slices"]) == ((5, 90, 170), [1, 4, 5])
    np.testing.assert_array_equal(ids[[0, 3, 4]] > 0, ids_of(whole)[[1, 4, 5], 11:101] > 0)
    assert not ids[1:3].any()


@pytest.mark.parametrize("coarse", [1, 5])
def test_there_is_no_object_where_the_mask_is_0(
    tissue: np.ndarray, bright: nn.Module, bright_params: Params, write_tiff: WriteTiff,
    tmp_path: Path, coarse: int,
) -> None:  # fmt: skip
    small = np.zeros((6, 130 // coarse, 170 // coarse), np.uint8)
    small[:4, : 65 // coarse] = 1
    mask = np.kron(small, np.ones((1, coarse, coarse), np.uint8)) > 0
    image, out = str(write_tiff("em.tif", tissue)), tmp_path / "ids.zarr"
    options = Options(mask=str(write_tiff("mask.tif", small)), side=60, overlap=24)
    segment_volume(bright, image, out, bright_params, options)
    np.testing.assert_array_equal(ids_of(out) > 0, (tissue > 100) & mask)


def test_what_is_there_from_the_same_job_is_kept_and_from_another_refused(
    bars: np.ndarray, bright: nn.Module, bright_params: Params, write_tiff: WriteTiff,
    tmp_path: Path, tree_of: Callable[[Path], dict[str, Any]],
) -> None:  # fmt: skip
    image, out = str(write_tiff("em.tif", bars)), tmp_path / "ids.zarr"
    first = segment_volume(bright, image, out, bright_params)
    before = tree_of(tmp_path)
    assert segment_volume(bright, image, out, bright_params) == first
    with pytest.raises(InputError, match="another model"):
        segment_volume(bright, image, out, bright_params, Options(link=True))
    bright.gain.data += 1
    with pytest.raises(InputError, match="another model"):
        segment_volume(bright, image, out, bright_params)
    assert tree_of(tmp_path) == before
    segment_volume(bright, image, out, bright_params, Options(overwrite=True))
    assert zarr.open_group(out).attrs["emsam"]["weights_sha256"] != first["weights_sha256"]


def test_what_was_begun_with_another_model_is_not_gone_on_with(
    bars: np.ndarray, bright: nn.Module, bright_params: Params, write_tiff: WriteTiff,
    tmp_path: Path,
) -> None:  # fmt: skip
    def interrupt(done: int, total: int, what: str) -> None:
        if done:
            raise KeyboardInterrupt

    image, out = str(write_tiff("em.tif", bars)), tmp_path / "ids.zarr"
    with pytest.raises(KeyboardInterrupt):
        segment_volume(bright, image, out, bright_params, report=interrupt)
    bright.gain.data += 1
    with pytest.raises(InputError, match=r"begun with another model.*--overwrite"):
        segment_volume(bright, image, out, bright_params)
    segment_volume(bright, image, out, bright_params, Options(overwrite=True))


def test_bad_input_leaves_nothing(
    bars: np.ndarray, bright: nn.Module, bright_params: Params, write_tiff: WriteTiff,
    tmp_path: Path,
) -> None:  # fmt: skip
    wrong = np.zeros((3, 40, 50), np.float32)
    wrong[2, 1, 1] = np.inf
    good = str(write_tiff("good.tif", bars))
    small = str(write_tiff("small.tif", bars[:, :33]))
    for image, options, said in [
        (str(write_tiff("em.tif", wrong)), Options(), r"em\.tif"),
        (str(tmp_path / "none.tif"), Options(), "no such file"),
        (good, Options(roi="0:2"), "three ranges"),
        (good, Options(roi="0:4,:,:"), "z goes from 0 to 3"),
        (good, Options(slices="7"), "0 to 2"),
        (good, Options(mask=small), "shape"),
        (good, Options(memory=0.1), "--memory"),
    ]:
        with pytest.raises(InputError, match=said):
            segment_volume(bright, image, tmp_path / "ids.zarr", bright_params, options)
        assert [path.name for path in tmp_path.iterdir()] == ["input"]


def test_an_output_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "there.tif").write_bytes(b"mine")
    for out in ("ids.png", "none/ids.tif", "there.tif"):
        with pytest.raises(InputError, match=out):
            check_output(tmp_path / out, overwrite=False)
    check_output(tmp_path / "there.tif", overwrite=True)
    check_output(tmp_path / "new.tiff", overwrite=False)
