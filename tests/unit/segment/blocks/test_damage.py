"""What cannot be read: named, and skipped or stopped at, and nothing else is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from torch import nn

from emsam.data.readers import open_stack
from emsam.errors import InputError
from emsam.params import Params
from emsam.segment.blocks.options import Options
from emsam.segment.blocks.run import segment_volume

SHAPE = (3, 128, 192)


def bright_squares() -> np.ndarray:
    """Squares of 12 pixels, 16 apart, none of which crosses a chunk of 64."""
    plane = np.full(SHAPE[1:], 20, np.uint8)
    for y in range(2, SHAPE[1], 16):
        for x in range(2, SHAPE[2], 16):
            plane[y : y + 12, x : x + 12] = 230
    return np.stack([plane] * SHAPE[0])


def damaged_zarr(path: Path) -> str:
    array = zarr.create_array(path, data=bright_squares(), chunks=(1, 64, 64))
    chunk = path / array.metadata.encode_chunk_key((1, 1, 2))
    content = chunk.read_bytes()
    chunk.write_bytes(content[: len(content) // 2])
    return str(path)


def damaged_tiff(path: Path) -> str:
    tifffile.imwrite(
        path, bright_squares(), tile=(64, 64), compression="zlib", photometric="minisblack"
    )
    with tifffile.TiffFile(path) as file:
        page = file.pages[1]
        start = page.dataoffsets[5]
    with path.open("r+b") as stream:
        stream.seek(start)
        stream.write(b"\0" * 8)
    return str(path)


@pytest.mark.parametrize(("make", "name"), [(damaged_zarr, "em.zarr"), (damaged_tiff, "em.tif")])
def test_a_damaged_chunk_is_named_and_skipped_if_asked(
    make: Callable[[Path], str], name: str, bright: nn.Module, bright_params: Params,
    tmp_path: Path,
) -> None:  # fmt: skip
    image, out = make(tmp_path / name), tmp_path / "ids.zarr"
    with pytest.raises(InputError, match=r"em\.(zarr|tif): .*(slice 1|chunk c/1/1/2)"):
        segment_volume(bright, image, out, bright_params, Options(side=96, overlap=16))
    for side in (96, 2048):
        options = Options(side=side, overlap=16, damaged="skip", overwrite=True)
        about = segment_volume(bright, image, out, bright_params, options)
        assert about["damaged"] == [[1, 64, 128, 128, 192]]
        expected = bright_squares() > 100
        expected[1, 64:, 128:] = False
        with open_stack(out) as stack:
            np.testing.assert_array_equal(np.stack(list(stack)) > 0, expected)


def test_what_was_finished_before_damage_is_not_done_again(
    bright: nn.Module, bright_params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from emsam.segment.blocks import work

    image, out = damaged_zarr(tmp_path / "em.zarr"), tmp_path / "ids.zarr"
    options = Options(side=96, overlap=16, workers=1)
    with pytest.raises(InputError):
        segment_volume(bright, image, out, bright_params, options)
    chunk = tmp_path / "em.zarr" / "c" / "1" / "1"
    (chunk / "2").write_bytes((chunk / "1").read_bytes())  # brought back
    done, write = [], work.write_window
    monkeypatch.setattr(
        work, "write_window", lambda path, *rest: (done.append(path), write(path, *rest))
    )
    assert segment_volume(bright, image, out, bright_params, options)["damaged"] == []
    assert not any(path.parent.name == "0" for path in done)
    with open_stack(out) as stack:
        np.testing.assert_array_equal(np.stack(list(stack)) > 0, bright_squares() > 100)
