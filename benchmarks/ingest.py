"""How fast a TIFF stack becomes a volume, beside a plain copy of the file.

    python benchmarks/ingest.py --gigabytes 2

Ours is ``emsam data ingest`` of the image alone, checks and pyramid included; the peer is ``cp``.
Both end when the bytes are on the disk, each from a warm page cache, in turn. Seconds are
medians, of CPU time without what the kernel does for the disk afterwards; a last row has the memory
of the ingest beside the size of the file.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile
from _table import Row, options, ratio, show

from emsam.data.synthetic import synthesize_volume

SIDE = 2048
TILE, REPEATED = 512, 8
"""Side and number of the tiles that are drawn; all else are shifted copies of them."""


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--gigabytes", type=float, default=2.0, help="size of the stack")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--work", type=Path, help="folder to work in; a temporary one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.work) as folder:
        show(compare(arguments, Path(folder)), arguments.json, line)


def line(row: Row) -> str:
    return (
        f"{row['name']:40} ours {row['ours']:8.1f}  peer {row['peer']:8.1f} {row['unit']}  "
        f"{row['ratio']:.2f}"
    )


def compare(arguments: argparse.Namespace, folder: Path) -> list[Row]:
    stack = folder / "stack.tif"
    write_stack(stack, round(arguments.gigabytes * 1e9 / SIDE**2))
    command = [
        sys.executable, "-m", "emsam.cli", "data", "ingest", "speed", "--image", str(stack),
        "--voxel-size", "30,8,8", "--json",
    ]  # fmt: skip
    environment = os.environ | {"EMSAM_DATA_ROOT": str(folder / "data")}
    seconds: dict[str, list[tuple[float, float]]] = {"ours": [], "peer": []}
    for _ in range(arguments.repeats):
        seconds["peer"].append(timed(["cp", str(stack), str(folder / "copy.tif")], {}))
        (folder / "copy.tif").unlink()
        seconds["ours"].append(timed(command, environment))
        shutil.rmtree(folder / "data")
    (ours, our_cpu), (peer, peer_cpu) = (
        map(statistics.median, zip(*seconds[side], strict=True)) for side in ("ours", "peer")
    )
    size = stack.stat().st_size / 1e6
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6
    name = f"ingest of {size / 1e3:.1f} GB of TIFF"
    return [
        {"name": f"{name}: {what}", "ours": a, "peer": b, "ratio": ratio(a, b), "unit": unit}
        for what, a, b, unit in (
            ("time", ours, peer, "s"),
            ("CPU time", our_cpu, peer_cpu, "s"),
            ("memory", memory, size, "MB"),
        )
    ]


def timed(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Seconds of a command, until what it wrote is on the disk, and of CPU time."""
    os.sync()
    began, before = time.perf_counter(), os.times()
    subprocess.run(command, env=environment or None, stdout=subprocess.DEVNULL, check=True)
    os.sync()
    after = os.times()
    cpu = sum(after[2:4]) - sum(before[2:4])  # user and system time of children
    return time.perf_counter() - began, cpu


def write_stack(path: Path, depth: int) -> None:
    """A BigTIFF of synthetic EM, page by page."""
    store = path.with_name("drawn.zarr")
    volume = synthesize_volume("drawn", store, shape=(REPEATED, TILE, TILE))
    drawn = [np.tile(volume.grey(z), (SIDE // TILE, SIDE // TILE)) for z in range(REPEATED)]
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        for z in range(depth):
            plane = np.roll(drawn[z % REPEATED], 37 * z, axis=(0, 1))
            writer.write(plane, contiguous=False, photometric="minisblack")


if __name__ == "__main__":
    main()
