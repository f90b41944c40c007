"""A segmentation that takes its time and keeps a log, for tests that stop it.

    python -m tests.faults.segmenting IMAGE OUT LOG [OPTIONS as JSON]

Workers of any kind import this file, and so do as the first process does.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch

from emsam.model.build import build_model
from emsam.params import Params, SegmentParams
from emsam.params.network import ModelParams
from emsam.segment.blocks import work
from emsam.segment.blocks.options import Options
from emsam.segment.blocks.run import segment_volume

PAUSE = float(os.environ.get("SEGMENT_PAUSE", "0"))
"""Seconds after each window."""
_write_window = work.write_window


def write_window(path: Path, *arguments: Any) -> None:
    _note("begun", path)
    _write_window(path, *arguments)
    _note("written", path)
    time.sleep(PAUSE)


def _note(what: str, path: Path) -> None:
    with Path(os.environ["SEGMENT_LOG"]).open("a") as log:
        log.write(f"{os.getpid()} {what} {path.parent.name}/{path.stem}\n")


if "SEGMENT_LOG" in os.environ:
    work.write_window = write_window


def params() -> Params:
    return Params(
        model=ModelParams(name="unet", unet_widths=(6, 8)),
        segment=SegmentParams(tile=32, halo=15, min_size=0, threshold=0.2, min_confidence=0.0),
    )


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    made = build_model(params()).eval()
    with torch.no_grad():
        grey = torch.rand(1, 1, 16, 16).repeat_interleave(8, 2).repeat_interleave(8, 3)
        logits = made(grey)
        # some pixels are of objects, others not
        made.head.weight *= 4 / logits.std((0, 2, 3))[:, None, None, None]
        made.head.bias -= made(grey).median() - 1
    return made


if __name__ == "__main__":
    torch.set_num_threads(1)
    image, out, options = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
    made = Options(**{"side": 64, "overlap": 16, "link": True} | options)
    print(json.dumps(segment_volume(network(), image, out, params(), made)))
