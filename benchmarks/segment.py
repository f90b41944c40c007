"""Segmenting a volume block by block, beside the bare network and scikit-image's watershed.

    python benchmarks/segment.py
    python benchmarks/segment.py --only memory --side 8192 --rows 2304
    python benchmarks/segment.py --only dask

A network of random weights finds nothing, so its output counts for nothing here and objects are
made of the grey values of a synthetic volume, whose membranes are dark: the network costs what it
costs, and the objects are as many as in tissue.

- speed: Mvoxel/s of the whole, from OME-Zarr to OME-Zarr, beside the network alone on the same
  tiles in memory; by the clock, and by CPU time, which others on the machine disturb less.
- growth: seconds for eight times the slices, beside eight times the seconds.
- memory: peak of a process beside --memory.
- objects: seconds of CPU of the instance step, beside the same with scikit-image's watershed of the
  whole slice, with the A-Rand of both against the truth.
- dask: two workers of one thread beside one.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from _table import Row, options, ratio, show
from scipy.ndimage import gaussian_filter, label
from scipy.special import expit
from skimage.segmentation import watershed
from torch import nn

from emsam.data.synthetic import synthesize_volume
from emsam.metrics.arand_contest import arand_contest
from emsam.metrics.grow import grow_labels
from emsam.model.build import build_model
from emsam.model.folding import fold_norms
from emsam.params import Params
from emsam.params.network import ModelParams
from emsam.segment.blocks.options import Options
from emsam.segment.blocks.run import segment_volume
from emsam.segment.fragments import drop_small, interior_map
from emsam.segment.instances import make_instances
from emsam.segment.predict import predict_tiles
from emsam.segment.tiling import BATCH, Tiling

DRAWN = 512
TOPICS = ("speed", "growth", "memory", "objects")


class FromGrey(nn.Module):
    """Costs what ``network`` costs, and says that bright pixels are of objects."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        out = self.network(image)
        smooth = nn.functional.avg_pool2d(image, 5, 1, 2, count_include_pad=False)
        return 1e-6 * out + (smooth - 0.35) * 40


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--model", default="unet", choices=["unet", "emsam"])
    parser.add_argument("--widths", type=int, nargs="+", help="of unet, by default its own")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--side", type=int, default=2304, help="of a slice, pixels")
    parser.add_argument("--slices", type=int, default=2)
    parser.add_argument("--memory", type=float, default=3.0, help="GB, given to the segmentation")
    parser.add_argument("--rows", type=int, help="memory: of each slice, all by default")
    parser.add_argument("--only", choices=[*TOPICS, "dask"], action="append")
    parser.add_argument("--work", type=Path, help="folder to work in; a temporary one")
    parser.add_argument("--alone", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone:
        print(json.dumps(alone(arguments, *map(Path, arguments.alone))))
        return
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(dir=arguments.work) as folder:
        for topic in arguments.only or TOPICS:
            rows += globals()[topic](arguments, Path(folder))
    show(rows, arguments.json, line)


def line(row: Row) -> str:
    return (
        f"{row['name']:58} ours {row['ours']:9.3f}  peer {row['peer']:9.3f} {row['unit']:9} "
        f"{row['ratio']:.2f}"
    )


def params_of(arguments: argparse.Namespace) -> Params:
    if arguments.model == "emsam":
        return Params(model=ModelParams(encoder="vit_t"))
    widths = {"unet_widths": tuple(arguments.widths)} if arguments.widths else {}
    return Params(model=ModelParams(name="unet", **widths))


def shown_model(arguments: argparse.Namespace) -> str:
    """As rows name it."""
    widths = " ".join(map(str, arguments.widths or ()))
    named = f"unet of {widths}" if arguments.model == "unet" and widths else arguments.model
    return named + ", bf16" * arguments.bf16


def network_of(params: Params) -> nn.Module:
    torch.manual_seed(0)
    network = build_model(params).to(memory_format=torch.channels_last)
    return FromGrey(network).eval()


def volume(folder: Path, side: int, slices: int) -> tuple[Path, np.ndarray]:
    """A Zarr of synthetic tissue, and the ids of the part that it repeats, (y, x)."""
    store = folder / "drawn" / "volume.zarr"
    drawn = synthesize_volume("drawn", store, shape=(8, DRAWN, DRAWN))
    path = folder / f"em-{side}-{slices}.zarr"
    array = zarr.create_array(
        path, shape=(slices, side, side), dtype="u1", chunks=(1, 256, 256), shards=(1, 2048, 2048)
    )
    times = -(-side // DRAWN)
    for z in range(slices):
        # mirrored, so that membranes go on
        plane = np.pad(drawn.grey(z % 8), (0, (times - 1) * DRAWN), mode="symmetric")
        array[z] = plane[:side, :side]
    ids = drawn.labels("neurites", 0)
    shutil.rmtree(store.parent)
    return path, ids


def timed_segmentation(
    arguments: argparse.Namespace, image: Path, out: Path, **more: Any
) -> tuple[float, dict[str, Any]]:
    params = params_of(arguments)
    network = network_of(params)
    asked = Options(memory=arguments.memory, bf16=arguments.bf16, **more)
    began = time.perf_counter()
    about = segment_volume(network, str(image), out, params, asked)
    return time.perf_counter() - began, about


def speed(arguments: argparse.Namespace, folder: Path) -> list[Row]:
    image, _ = volume(folder, arguments.side, arguments.slices)
    params = params_of(arguments)
    network = network_of(params)
    tile, halo = params.segment.tile, params.segment.halo
    own = Tiling.of(params)
    peers = {
        "as it was trained": (network, Tiling(tile - 2 * halo, halo, BATCH, any_side=False)),
        "with its norms folded, on the tiles of a segmentation": (fold_norms(network), own),
    }
    # half of each peer before and half after, as others use the machine too
    bare = {name: _forward_seconds(arguments, *peer) for name, peer in peers.items()}
    worked = time.process_time()
    seconds, about = timed_segmentation(arguments, image, folder / "speed.zarr")
    worked = time.process_time() - worked
    shown = f"{shown_model(arguments)}, {arguments.slices}×{arguments.side}²"
    rows: list[Row] = []
    for name, peer in peers.items():
        each = bare[name] + _forward_seconds(arguments, *peer)
        for taken, alone, unit in (
            (seconds, each[0], "Mvoxel/s"), (worked, each[1], "Mvoxel/CPU s"),
        ):  # fmt: skip
            ours, theirs = (about["voxels"] / value / 1e6 for value in (taken, alone))
            rows.append({"name": f"{shown}, beside the network {name}", "ours": ours,
                         "peer": theirs, "ratio": ours / theirs, "unit": unit})  # fmt: skip
    return rows


def _forward_seconds(
    arguments: argparse.Namespace, network: nn.Module, tiling: Tiling
) -> np.ndarray:
    """Seconds by the clock and of CPU for half of the slices' tiles, which are in memory."""
    params, side = params_of(arguments), tiling.core + 2 * tiling.halo
    batch = np.random.default_rng(0).random((tiling.batch, side, side)).astype(np.float32)
    # of tiles that end with the slice, as much as they have of whole ones
    tiles = (tiling.reach(arguments.side) / tiling.core) ** 2 * arguments.slices

    def forward() -> None:
        predict_tiles(network, batch, params, tiling.halo, bf16=arguments.bf16)

    forward()
    began = np.array([time.perf_counter(), time.process_time()])
    for _ in range(round(tiles / tiling.batch / 2)):
        forward()
    return np.array([time.perf_counter(), time.process_time()]) - began


def growth(arguments: argparse.Namespace, folder: Path) -> list[Row]:
    seconds = {}
    for slices in (1, 8, 1):
        image = folder / f"em-768-{slices}.zarr"
        if not image.exists():
            image, _ = volume(folder, 768, slices)
        out = folder / f"growth-{slices}-{len(seconds)}.zarr"
        taken, _ = timed_segmentation(arguments, image, out, link=True)
        seconds.setdefault(slices, []).append(taken)
    one, eight = min(seconds[1]), seconds[8][0]
    name = f"{shown_model(arguments)}, 8×768², 3D: time beside 8 times that of 1×768²"
    return [{"name": name, "ours": eight, "peer": 8 * one, "ratio": eight / 8 / one, "unit": "s"}]


def memory(arguments: argparse.Namespace, folder: Path) -> list[Row]:
    """In a process of its own, whose peak is its own."""
    image, _ = volume(folder, arguments.side, arguments.slices)
    command = [
        sys.executable, __file__, "--model", arguments.model, "--memory", str(arguments.memory),
        *(["--widths", *map(str, arguments.widths)] if arguments.widths else []),
        *(["--bf16"] if arguments.bf16 else []),
        "--rows", str(arguments.rows or arguments.side),
        "--alone", str(image), str(folder / "memory.zarr"),
    ]  # fmt: skip
    said = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    shown = f"{arguments.slices}×{arguments.rows or arguments.side}×{arguments.side}"
    size = said["voxels"] / 1e6
    return [
        {"name": f"{shown_model(arguments)}, {shown}: peak memory beside --memory",
         "ours": said["peak"], "peer": 1000 * arguments.memory,
         "ratio": said["peak"] / 1000 / arguments.memory, "unit": "MB",
         "seconds": said["seconds"], "cpu_seconds": said["cpu_seconds"],
         "mvoxel_s": size / said["seconds"], "objects": said["objects"]},
        {"name": f"{shown_model(arguments)}, {shown}: what is kept on the way beside the voxels",
         "ours": said["disk"], "peer": size, "ratio": said["disk"] / size, "unit": "MB"},
    ]  # fmt: skip


def alone(arguments: argparse.Namespace, image: Path, out: Path) -> dict[str, Any]:
    disk = 0

    def look(done: int, total: int, what: str) -> None:
        nonlocal disk
        if "left" in what:  # of slices; the pyramid is not written yet
            files = out.with_name(f".{out.name}.part").rglob("*.npz")
            disk = max(disk, sum(each.stat().st_size for each in files))

    params = params_of(arguments)
    roi = f":,0:{arguments.rows},:"
    asked = Options(memory=arguments.memory, bf16=arguments.bf16, link=True, roi=roi)
    began, worked = time.perf_counter(), time.process_time()
    about = segment_volume(network_of(params), str(image), out, params, asked, look)
    seconds, worked = time.perf_counter() - began, time.process_time() - worked
    state = Path("/proc/self/status").read_text().splitlines()
    (peak,) = [row for row in state if row.startswith("VmHWM")]
    pyramid = sum(each.stat().st_size for each in out.rglob("*") if each.is_file())
    return {
        "peak": int(peak.split()[1]) / 1e3, "seconds": seconds,
        "cpu_seconds": worked, "disk": (disk + pyramid) / 1e6,
        "voxels": about["voxels"], "objects": about["objects"],
    }  # fmt: skip


def objects(arguments: argparse.Namespace, folder: Path) -> list[Row]:
    _, ids = volume(folder, DRAWN, 1)
    params = Params(model=ModelParams(name="unet"))
    sides = (0, 2048 - DRAWN)
    truth, _ = label(np.pad(ids, sides, mode="symmetric") > 0)
    noise = np.random.default_rng(0).normal(size=truth.shape)
    # a network's output: right, but for blurred membranes and noise
    blurred = gaussian_filter((truth > 0).astype(np.float32), 1.5)
    once = gaussian_filter(expit(12 * (blurred - 0.6) + 6 * noise), 1).astype(np.float32)
    maps = np.stack([once] * 3) ** 0.5
    began = time.process_time()
    found, _ = make_instances(maps, params)
    middle = time.process_time()
    other = _by_skimage(maps, params)
    end = time.process_time()
    scores = [arand_contest(truth, grow_labels(each)) for each in (found, other)]
    ours, peer = middle - began, end - middle
    name = f"objects of a slice of {maps.shape[1]}²"
    return [
        {"name": f"{name}: CPU time beside scikit-image", "ours": ours, "peer": peer,
         "ratio": ratio(ours, peer), "unit": "s"},
        {"name": f"{name}: A-Rand against the truth", "ours": scores[0], "peer": scores[1],
         "ratio": ratio(*scores), "unit": ""},
    ]  # fmt: skip


def _by_skimage(maps: np.ndarray, params: Params) -> np.ndarray:
    """The same steps with scikit-image's watershed."""
    interior = interior_map(maps)
    seeds = drop_small(label(interior > params.threshold)[0], params.segment.min_size)
    mask = (maps[0] > params.foreground) | (seeds > 0)
    found: np.ndarray = drop_small(watershed(-interior, seeds, mask=mask), params.segment.min_size)
    return found


def dask(arguments: argparse.Namespace, folder: Path) -> list[Row]:
    """Workers of one thread each; both runs have their own scheduler."""
    from dask.distributed import LocalCluster

    os.environ["OMP_NUM_THREADS"] = "1"
    image, _ = volume(folder, 1152, 16)
    params = params_of(arguments)
    torch.manual_seed(0)
    network = build_model(params).eval()
    seconds = []
    for workers in (1, 2):
        with LocalCluster(
            n_workers=workers, threads_per_worker=1, dashboard_address=None
        ) as cluster:
            address = cluster.scheduler_address
            warm = Options(dask=address, roi="0:2,0:192,0:192")
            segment_volume(network, str(image), folder / f"warm{workers}.zarr", params, warm)
            began = time.perf_counter()
            out = folder / f"dask{workers}.zarr"
            segment_volume(network, str(image), out, params, Options(dask=address))
            seconds.append(time.perf_counter() - began)
    one, two = seconds
    name = f"{shown_model(arguments)}, 16×1152²: speed-up by a second Dask worker"
    return [{"name": name, "ours": one / two, "peer": 2.0, "ratio": one / two / 2, "unit": "times"}]


if __name__ == "__main__":
    main()
