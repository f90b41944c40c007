"""How a volume is to be segmented, as a person asks for it."""

from __future__ import annotations

from dataclasses import dataclass

from emsam.errors import InputError
from emsam.segment.blocks.job import Damaged
from emsam.segment.tiling import BATCH

SIDE, OVERLAP = 2048, 128


@dataclass(frozen=True)
class Options:
    """What is said beside image, model and output.

    Attributes
    ----------
    link
        Whether one id means one object through the slices.
    roi, slices
        See :func:`~emsam.segment.blocks.region.parse_region`.
    mask
        Location of a stack, not 0 where is to be segmented; empty for none.
    side, overlap
        Of windows in which objects are found, pixels; a slice that is less is one window.
    batch
        Tiles that the network sees together.
    bf16
        Whether the network may calculate with 16 bits.
    damaged
        Whether to ``stop`` at a part of the image that cannot be decoded, or to ``skip`` it.
    memory
        GB on this machine, or of a worker of a cluster.
    workers
        Slices that are worked on at a time.
    processes
        Whether each worker is a process; else they are threads that share a network.
    dask
        Address of a scheduler; its workers do the work then.
    overwrite
        Whether to replace an output, or what was begun of it, that is from another job.
    """

    link: bool = False
    roi: str = ""
    slices: str = ""
    mask: str = ""
    side: int = SIDE
    overlap: int = OVERLAP
    batch: int = BATCH
    bf16: bool = False
    damaged: Damaged = "stop"
    memory: float = 4.0
    workers: int = 2
    processes: bool = False
    dask: str = ""
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.damaged not in ("stop", "skip"):
            raise InputError(f"--damaged {self.damaged}: give stop or skip")
        if self.overlap < 0 or self.side <= 2 * self.overlap:
            raise InputError(
                f"--window {self.side}: windows see {self.overlap} pixels of each neighbour; give "
                "more than twice as much"
            )
        if self.dask and self.processes:
            raise InputError("--dask and --processes: give one of them")
