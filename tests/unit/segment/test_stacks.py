from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from torch import nn

from emsam.data.readers import open_stack
from emsam.errors import InputError
from emsam.params import Params, SegmentParams, TargetParams
from emsam.segment.slices import segment_slice
from emsam.segment.stacks import score_stack_3d, score_stacks, segment_stack, stack_output

PARAMS = Params(
    targets=TargetParams(offsets=((0, 1), (1, 0))),
    segment=SegmentParams(tile=32, halo=4, min_size=0),
)


class Bright(nn.Module):
    """Foreground and both affinities are likely where the image is bright."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(40.0))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return ((image - 0.5) * self.gain).expand(-1, 3, -1, -1)


@pytest.fixture
def bars() -> np.ndarray:
    """Three slices with one, two and three bright bars."""
    stack = np.full((3, 40, 50), 20, np.uint8)
    for z in range(3):
        for bar in range(z + 1):
            stack[z, 5:35, 4 + 15 * bar : 12 + 15 * bar] = 230
    return stack


def test_a_slice_is_segmented_whatever_its_type(bars: np.ndarray) -> None:
    for image in (bars[2], bars[2].astype(np.uint16) * 200, bars[2] / 17 - 3):
        ids = segment_slice(Bright(), image, PARAMS)
        assert ids.max() == 3
        np.testing.assert_array_equal(ids > 0, bars[2] > 100)


def test_slices_that_cannot_be_segmented_are_refused(bars: np.ndarray) -> None:
    nan = bars[0].astype(np.float32)
    nan[3, 3] = np.nan
    for image in (bars, nan):
        with pytest.raises(InputError):
            segment_slice(Bright(), image, PARAMS)


def test_a_stack_is_segmented_slice_by_slice(
    bars: np.ndarray, write_tiff: Callable[..., Path], tmp_path: Path
) -> None:
    out, seen = tmp_path / "ids.tif", []
    image = write_tiff("em.tif", bars)
    count = segment_stack(Bright(), image, out, PARAMS, lambda done, total: seen.append(done))
    assert (count, seen) == (1 + 2 + 3, [1, 2, 3])
    with tifffile.TiffFile(out) as file:
        pages = [page.asarray() for page in file.pages]
    assert [int(page.max()) for page in pages] == [1, 2, 3]
    np.testing.assert_array_equal(np.stack(pages) > 0, bars > 100)


def test_linked_objects_have_one_id_through_the_stack(
    bars: np.ndarray, write_tiff: Callable[..., Path], tmp_path: Path
) -> None:
    out = tmp_path / "ids.tif"
    count = segment_stack(Bright(), write_tiff("em.tif", bars), out, PARAMS, link=True)
    ids = tifffile.imread(out)
    assert (count, ids.dtype) == (3, np.uint32)
    assert [len(np.unique(plane)) - 1 for plane in ids] == [1, 2, 3]
    assert (ids[:, 10, 8] == ids[0, 10, 8]).all()
    assert (ids[1:, 10, 23] == ids[1, 10, 23]).all()
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["ids.tif"]


def test_what_was_written_reads_back_as_a_stack(
    bars: np.ndarray, write_tiff: Callable[..., Path], tmp_path: Path
) -> None:
    out = tmp_path / "ids.tif"
    segment_stack(Bright(), write_tiff("em.tif", bars), out, PARAMS)
    with open_stack(out) as stack:
        assert stack.shape == bars.shape
    assert tifffile.imread(out).shape == bars.shape


def test_a_failure_leaves_no_output(write_tiff: Callable[..., Path], tmp_path: Path) -> None:
    wrong = np.zeros((3, 40, 50), np.float32)
    wrong[2, 1, 1] = np.inf
    image, out = write_tiff("em.tif", wrong), tmp_path / "ids.tif"
    with pytest.raises(InputError, match=r"em\.tif"):
        segment_stack(Bright(), image, out, PARAMS)

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        segment_stack(Bright(), write_tiff("g.tif", wrong[:2]), out, PARAMS, interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["input"]


def test_an_output_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "there.tif").write_bytes(b"mine")
    for out in ("ids.png", "none/ids.tif", "there.tif"):
        with pytest.raises(InputError, match=out):
            stack_output(tmp_path / out, overwrite=False)
    stack_output(tmp_path / "there.tif", overwrite=True)
    stack_output(tmp_path / "new.tiff", overwrite=False)


def test_scores_of_two_files(write_tiff: Callable[..., Path], id_stack: np.ndarray) -> None:
    pred = id_stack.copy()
    pred[4] = 1  # all objects of the last slice merged
    truth_file, pred_file = write_tiff("t.tif", id_stack), write_tiff("p.tif", pred)
    scores = score_stacks(truth_file, pred_file, "neurites", grow=True)
    by_z = {r["z"]: r["value"] for r in scores["rows"] if r["metric"] == "arand_contest_2d"}
    # six equal objects in one segment: 1 − 2·6 / (6 + 36) = 5/7
    assert by_z == pytest.approx({0: 0, 1: 0, 2: 0, 3: 0, 4: 5 / 7})
    (mean,) = [each for each in scores["means"] if each["metric"] == "arand_contest_2d"]
    assert mean["mean"] == pytest.approx(1 / 7)
    assert not math.isnan(mean["low"])


def test_files_that_cannot_be_scored_are_refused(
    write_tiff: Callable[..., Path], id_stack: np.ndarray
) -> None:
    good = write_tiff("good.tif", id_stack)
    short = write_tiff("short.tif", id_stack[:-1])
    grey = write_tiff("float.tif", id_stack.astype(np.float32))
    for wrong in (short, grey, good.with_name("none.tif")):
        with pytest.raises(InputError, match=wrong.name):
            score_stacks(good, wrong, "neurites", grow=True)
    with pytest.raises(InputError, match="dendrites"):
        score_stacks(good, good, "dendrites", grow=True)


def test_scores_of_two_files_in_3d(write_tiff: Callable[..., Path], id_stack: np.ndarray) -> None:
    anew = id_stack + 10 * np.arange(5, dtype=np.uint16).reshape(5, 1, 1) * (id_stack > 0)
    files = write_tiff("t.tif", id_stack), write_tiff("p.tif", anew)
    slices = score_stacks(*files, "neurites", grow=True)
    assert {mean["mean"] for mean in slices["means"]} == {0}
    volume = score_stack_3d(*files, "neurites", grow=True, voxel_size=(30, 8, 8))
    # six objects in five parts each: 1 − 2·5 / (25 + 5); log2(5) bits
    expected = {"arand_contest_3d": 2 / 3, "voi_split_3d": math.log2(5), "voi_merge_3d": 0}
    assert {mean["metric"]: mean["mean"] for mean in volume["means"]} == pytest.approx(expected)
    assert {row["metric"]: row["value"] for row in volume["rows"]} == pytest.approx(expected)
    assert all(math.isnan(mean["low"]) for mean in volume["means"])


def test_what_cannot_be_scored_in_3d_is_refused(
    write_tiff: Callable[..., Path], id_stack: np.ndarray
) -> None:
    good, short = write_tiff("good.tif", id_stack), write_tiff("short.tif", id_stack[:-1])
    with pytest.raises(InputError, match="short"):
        score_stack_3d(good, short, "neurites", grow=True, voxel_size=(1, 1, 1))
    for size in ((30, 0, 8), (math.nan, 8, 8), (30, 8, -8), (math.inf, 8, 8)):
        with pytest.raises(InputError, match="voxel-size"):
            score_stack_3d(good, good, "neurites", grow=True, voxel_size=size)
