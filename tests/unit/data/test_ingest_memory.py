"""An ingest takes as much memory for many slices as for few."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

SIDE = 1024
SCRIPT = """
import os
import sys
from contextlib import suppress
from pathlib import Path
from emsam.data.ingest import Source, ingest_volume
with suppress(PermissionError):  # as where nothing else runs: what waits for whom decides the peak
    os.nice(-15)
ingest_volume("a", Source(sys.argv[1], {}, (30.0, 8.0, 8.0)), Path(sys.argv[2]))
(peak,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(peak.split()[1])
"""


def write(kind: str, folder: Path, depth: int) -> str:
    """Slices of noise in one corner, so that it is quick and not quite nothing."""
    plane = np.zeros((SIDE, SIDE), np.uint16)
    rng = np.random.default_rng(0)
    folder.mkdir()
    if kind == "hdf5":
        with h5py.File(folder / "s.h5", "w") as file:
            shape = (depth, SIDE, SIDE)
            made = file.create_dataset("main", shape, "u2", chunks=(8, 512, 512), compression="lzf")
            for z in range(depth):
                plane[:64, :64] = rng.integers(0, 60_000, (64, 64))
                made[z] = plane
        return f"{folder}/s.h5"
    with tifffile.TiffWriter(folder / "s.tif", bigtiff=True) as writer:
        for _ in range(depth):
            plane[:64, :64] = rng.integers(0, 60_000, (64, 64))
            writer.write(plane, contiguous=False, photometric="minisblack", compression="zlib")
    return f"{folder}/s.tif"


def peak(image: str, folder: Path) -> float:
    """Megabytes that a process of its own took at most, in three: a short one may see no peak."""
    found = []
    for number in range(3):
        command = [sys.executable, "-c", SCRIPT, image, str(folder / f"{number}.zarr")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found.append(int(done.stdout) * 1024 / 1e6)
    return max(found)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tiff", "hdf5"])
def test_memory_does_not_grow_with_the_slices(kind: str, tmp_path: Path) -> None:
    few, many = (
        peak(write(kind, tmp_path / str(depth), depth), tmp_path / str(depth))
        for depth in (96, 384)
    )
    assert many < few + 60, f"{few:.0f} MB for 200 MB of voxels, {many:.0f} MB for 800 MB"
    assert many < 1000
