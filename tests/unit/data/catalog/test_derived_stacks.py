"""Stacks that are made of others, read from any slice on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from emsam.data.catalog.coloured_png import ColouredPngStack
from emsam.data.catalog.components import ConnectedParts
from emsam.data.catalog.stacks import Changed, Cropped, Joined
from emsam.data.readers import Stack, open_stack

IDS = np.random.default_rng(0).integers(0, 4, (5, 8, 9), dtype=np.uint16)


@pytest.fixture
def opened(tmp_path: Path) -> Stack:
    tifffile.imwrite(tmp_path / "ids.tif", IDS, photometric="minisblack")
    return open_stack(tmp_path / "ids.tif")


def png_slices(stack: Stack) -> Stack:
    import imagecodecs

    folder = Path(stack.name).parent
    paths = [folder / f"z{z}.png" for z in range(len(IDS))]
    for path, plane in zip(paths, IDS, strict=True):
        path.write_bytes(imagecodecs.png_encode(plane))
    return ColouredPngStack(paths, "slices")


@pytest.mark.parametrize(
    "derive",
    [
        lambda stack: Joined([stack, stack]),
        lambda stack: Joined([stack, stack], renumber=True),
        lambda stack: Cropped(stack, (1, 2, 3), (3, 5, 5)),
        lambda stack: Changed(stack, lambda plane: plane // 2, "halved"),
        lambda stack: ConnectedParts(stack, through_slices=True, foreground=(1, 2, 3)),
        lambda stack: ConnectedParts(stack, through_slices=False, foreground=(1, 2, 3)),
        png_slices,
    ],
    ids=["joined", "renumbered", "cropped", "changed", "parts", "parts of slices", "png"],
)
def test_an_ingest_that_goes_on_reads_what_a_whole_one_does(
    derive: Callable[[Stack], Stack], opened: Stack
) -> None:
    with derive(opened) as stack:
        whole = list(stack)
        assert len(whole) == stack.shape[0]
        for first in range(stack.shape[0] + 1):
            rest = list(stack.slices_from(first))
            assert len(rest) == len(whole) - first
            for here, there in zip(rest, whole[first:], strict=True):
                np.testing.assert_array_equal(here, there)
