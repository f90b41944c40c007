"""Time and memory of SAM's image encoder, beside segment-anything's own.

Both have the same weights and see the same image; features before the neck::

    python benchmarks/encoder.py --encoder vit_b --side 1024

On a GPU, with ``--device cuda --batch 8``, ours runs in bf16 beside the reference's fp32, forward,
and then a training step of the encoder at 512². Ours and the peer take turns, each measurement in
a process of its own, so that the peak of the resident memory is that of one of them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import torch
from _table import Row, options, show
from torch import Tensor, nn

from emsam.model.encoder import ENCODERS, SamEncoder, image_encoder

PROBE = "--probe"


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--encoder", default="vit_b", choices=ENCODERS)
    parser.add_argument("--side", type=int, default=1024, help="of the image, pixels")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--train", action="store_true", help="a training step, not a forward pass")
    parser.add_argument("--repeats", type=int, default=3, help="processes of each kind")
    parser.add_argument(PROBE, choices=["ours", "peer"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.probe:
        print(json.dumps(probe(arguments)))
        return
    show(compare(arguments), arguments.json, line)


def line(row: Row) -> str:
    return (
        f"{row['name']:60} ours {row['ours']:9.2f}  segment-anything {row['peer']:9.2f} "
        f"{row['unit']}  {row['ratio']:.2f}"
    )


def compare(arguments: argparse.Namespace) -> list[Row]:
    """A row for the time and a row for the extra memory; medians over processes."""
    found: dict[str, list[dict[str, float]]] = {"ours": [], "peer": []}
    for _ in range(arguments.repeats):
        for side, results in found.items():
            command = [sys.executable, __file__, *sys.argv[1:], PROBE, side]
            environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=environment)
            results.append(json.loads(done.stdout))
    work = "training step" if arguments.train else "forward"
    what = f"{arguments.encoder} {work}, {arguments.device}, {arguments.batch} of {arguments.side}²"
    rows = []
    for quantity, unit in (("seconds", "s"), ("megabytes", "MB")):
        ours, peer = (
            statistics.median(each[quantity] for each in found[side]) for side in ("ours", "peer")
        )
        name = f"{what}: {'time' if unit == 's' else 'peak extra memory'}"
        rows.append({"name": name, "ours": ours, "peer": peer, "ratio": ours / peer, "unit": unit})
    return rows


def probe(arguments: argparse.Namespace) -> dict[str, float]:
    """Median seconds of a pass and its peak of memory beyond weights and image, MB."""
    torch.manual_seed(0)
    device = torch.device(arguments.device)
    encoder = SamEncoder(ENCODERS[arguments.encoder])
    image = torch.rand((arguments.batch, 1, arguments.side, arguments.side)).to(device)
    mean, std = encoder.pixel_mean.to(device), encoder.pixel_std.to(device)
    ours = arguments.probe == "ours"
    network: nn.Module = encoder if ours else reference(encoder, arguments.side)
    network.to(device).train(arguments.train)
    half = torch.autocast("cuda", torch.bfloat16, enabled=ours and arguments.device == "cuda")
    last = [encoder.config.depth - 1]

    def forward() -> Tensor:
        with half:
            if ours:
                return encoder.forward_intermediates(image, last)[0]
            out: Tensor = network((image - mean) / std)
            return out

    def step() -> None:
        if arguments.train:
            network.zero_grad(set_to_none=True)
            forward().float().square().mean().backward()
        else:
            with torch.inference_mode():
                forward()

    run = partial(on_gpu, step) if device.type == "cuda" else partial(on_cpu, step)
    return run()


def reference(encoder: SamEncoder, side: int) -> nn.Module:
    """segment-anything's ``ImageEncoderViT`` with the same weights, without its neck."""
    vit = image_encoder(encoder.config)
    vit.load_state_dict(encoder.vit.state_dict())
    if side != encoder.config.image_size:  # it cannot do that itself
        tokens = side // 16
        vit.pos_embed = nn.Parameter(encoder.position_embedding(tokens, tokens).detach())
    return vit


def on_cpu(step: Callable[[], None], passes: int = 3) -> dict[str, float]:
    """Resident memory is sampled every few milliseconds."""
    process, stop = psutil.Process(), threading.Event()
    before = peak = process.memory_info().rss

    def watch() -> None:
        nonlocal peak
        while not stop.wait(0.005):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    step()  # the peak counts the first pass, the time does not
    times = []
    for _ in range(passes):
        began = time.perf_counter()
        step()
        times.append(time.perf_counter() - began)
    stop.set()
    watcher.join()
    return {"seconds": statistics.median(times), "megabytes": (peak - before) / 1e6}


def on_gpu(step: Callable[[], None], passes: int = 10) -> dict[str, float]:
    """CUDA's own clock and its own count of allocated bytes."""
    step()
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    times = []
    for _ in range(passes):
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        first.record()
        step()
        last.record()
        torch.cuda.synchronize()
        times.append(first.elapsed_time(last) / 1000)
    peak = torch.cuda.max_memory_allocated() - before
    return {"seconds": statistics.median(times), "megabytes": peak / 1e6}


if __name__ == "__main__":
    main()
