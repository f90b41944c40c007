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
from emsam.params import Params
from emsam.params.network import ModelParams
from emsam.segment.blocks.options import Options
from emsam.segment.blocks.run import segment_volume
from emsam.segment.fragments import drop_small, interior_map
from emsam.segment.instances import make_instances
from emsam.segment.predict import BATCH, predict_tiles

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


def params_of(name: str) -> Params:
    model = ModelParams(name="unet") if name == "unet" else ModelParams(encoder="vit_t")
    return Params(model=model)


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
    params = params_of(arguments.model)
    network = network_of(params)
    asked = Options(memory=arguments.memory, **more)
    began = time.perf_counter()
    about = segment_volume(network, str(image), out, params, asked)
    return time.perf_counter() - began, about


def speed(arguments: argparse.Namespace, folder: Path) -> list[Row]:
    image, _ = volume(folder, arguments.side, arguments.slices)
    params = params_of(arguments.model)
    core = params.segment.tile - 2 * params.segment.halo
    tiles = (-(-arguments.side // core)) ** 2 * arguments.slices
    network = network_of(params)
    batch = np.random.default_rng(0).random((BATCH, params.segment.tile, params.segment.tile))
    batch = batch.astype(np.float32)
    predict_tiles(network, batch, params)
    # half of the peer before and half after, as others use the machine too
    bare = _forward_seconds(network, batch, params, tiles // 2)
    worked = time.process_time()
    seconds, about = timed_segmentation(arguments, image, folder / "speed.zarr")
    worked = time.process_time() - worked
    bare += _forward_seconds(network, batch, params, tiles - tiles // 2)
    shown = f"{arguments.model}, {arguments.slices}×{arguments.side}², {about['objects']} objects"
    rows: list[Row] = []
    for what, taken, alone, unit in (
        ("speed", seconds, bare[0], "Mvoxel/s"),
        ("work", worked, bare[1], "Mvoxel/CPU s"),
    ):
        ours, peer = (about["voxels"] / each / 1e6 for each in (taken, alone))
        name = f"{shown}: {what}"
        rows.append({"name": name, "ours": ours, "peer": peer, "ratio": ours / peer, "unit": unit})
    return rows


def _forward_seconds(
    network: nn.Module, batch: np.ndarray, params: Params, tiles: int
) -> np.ndarray:
    """Seconds by the clock and of CPU."""
    began = np.array([time.perf_counter(), time.process_time()])
    for _ in range(round(tiles / BATCH)):
        predict_tiles(network, batch, params)
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
    name = f"{arguments.model}, 8×768², 3D: time beside 8 times that of 1×768²"
    return [{"name": name, "ours": eight, "peer": 8 * one, "ratio": eight / 8 / one, "unit": "s"}]


def memory(arguments: argparse.Namespace, folder: Path) -> list[Row]:
    """In a process of its own, whose peak is its own."""
    image, _ = volume(folder, arguments.side, arguments.slices)
    command = [
        sys.executable, __file__, "--model", arguments.model, "--memory", str(arguments.memory),
        "--rows", str(arguments.rows or arguments.side),
        "--alone", str(image), str(folder / "memory.zarr"),
    ]  # fmt: skip
    said = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    shown = f"{arguments.slices}×{arguments.rows or arguments.side}×{arguments.side}"
    size = said["voxels"] / 1e6
    return [
        {"name": f"{arguments.model}, {shown}: peak memory beside --memory",
         "ours": said["peak"], "peer": 1000 * arguments.memory,
         "ratio": said["peak"] / 1000 / arguments.memory, "unit": "MB",
         "seconds": said["seconds"], "mvoxel_s": size / said["seconds"]},
        {"name": f"{arguments.model}, {shown}: what is kept on the way beside the voxels",
         "ours": said["disk"], "peer": size, "ratio": said["disk"] / size, "unit": "MB"},
    ]  # fmt: skip


def alone(arguments: argparse.Namespace, image: Path, out: Path) -> dict[str, Any]:
    disk = 0

    def look(done: int, total: int, what: str) -> None:
        nonlocal disk
        if "left" in what:  # of slices; the pyramid is not written yet
            files = out.with_name(f".{out.name}.part").rglob("*.npz")
            disk = max(disk, sum(each.stat().st_size for each in files))

    params = params_of(arguments.model)
    roi = f":,0:{arguments.rows},:"
    asked = Options(memory=arguments.memory, link=True, roi=roi)
    began = time.perf_counter()
    about = segment_volume(network_of(params), str(image), out, params, asked, look)
    seconds = time.perf_counter() - began
    state = Path("/proc/self/status").read_text().splitlines()
    (peak,) = [row for row in state if row.startswith("VmHWM")]
    pyramid = sum(each.stat().st_size for each in out.rglob("*") if each.is_file())
    return {
        "peak": int(peak.split()[1]) / 1e3, "seconds": seconds, "disk": (disk + pyramid) / 1e6,
        "voxels": about["voxels"],
    }  # fmt: skip


def objects(arguments: argparse.Namespace, folder: Path) -> list[Row]:
    _, ids = volume(folder, DRAWN, 1)
    params = params_of("unet")
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
    image, _ = volume(folder, 1152, 8)
    params = params_of(arguments.model)
    torch.manual_seed(0)
    network = build_model(params).eval()
    seconds = []
    for workers in (1, 2):
        with LocalCluster(workers, threads_per_worker=1, dashboard_address=None) as cluster:
            address = cluster.scheduler_address
            warm = Options(dask=address, roi="0:2,0:192,0:192")
            segment_volume(network, str(image), folder / f"warm{workers}.zarr", params, warm)
            began = time.perf_counter()
            out = folder / f"dask{workers}.zarr"
            segment_volume(network, str(image), out, params, Options(dask=address))
            seconds.append(time.perf_counter() - began)
    one, two = seconds
    name = f"{arguments.model}, 8×1152²: speed-up by a second Dask worker"
    return [{"name": name, "ours": one / two, "peer": 2.0, "ratio": one / two / 2, "unit": "times"}]


if __name__ == "__main__":
    main()
