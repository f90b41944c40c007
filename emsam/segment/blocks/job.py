"""What is to be made: all that the result depends on, and nothing else."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from emsam.documents import document_digest
from emsam.params import Params
from emsam.segment.blocks.grid import Box, Grid
from emsam.segment.tiling import Tiling

Damaged = Literal["stop", "skip"]
FORMAT = 2
"""Goes up when the same job would give another result, or other files on the way."""


@dataclass(frozen=True)
class Job:
    """A segmentation of a volume.

    Attributes
    ----------
    image, mask
        Locations; an empty mask is none.
    known_by
        What tells their content from another one.
    weights
        sha256 of the network's state.
    shape
        z, y, x of the image.
    slices
        z of those that are segmented, ascending.
    region
        y0, y1, x0, x1.
    intensity
        Grey values that become 0 and 1.
    voxel_size
        z, y, x in nm.
    known_size
        Whether somebody said so.
    link
        Whether objects go through slices.
    side, overlap
        Of windows, see :class:`~emsam.segment.blocks.grid.Grid`.
    damaged
        What happens where the image cannot be decoded.
    """

    image: str
    mask: str
    known_by: tuple[str, str]
    weights: str
    shape: tuple[int, int, int]
    slices: tuple[int, ...]
    region: tuple[int, int, int, int]
    intensity: tuple[float, float]
    voxel_size: tuple[float, float, float]
    known_size: bool
    link: bool
    bf16: bool
    batch: int
    side: int
    overlap: int
    damaged: Damaged
    format: int = FORMAT

    def grid(self, params: Params) -> Grid:
        """How its slices are cut."""
        tiling = Tiling.of(params, self.batch)
        reach = tiling.reach(self.shape[1]), tiling.reach(self.shape[2])
        return Grid(Box(*self.region), tiling, reach, self.side, self.overlap)

    @property
    def depth(self) -> int:
        """Slices of the output: those between the first and the last are 0 if not asked for."""
        return self.slices[-1] - self.slices[0] + 1

    @property
    def output_shape(self) -> tuple[int, int, int]:
        """z, y, x."""
        height, width = Box(*self.region).shape
        return self.depth, height, width

    def digest(self, params: Params) -> str:
        """Of the job and the post-processing."""
        segment = params.settled_segment.model_dump(mode="json")
        return document_digest({"job": asdict(self), "segment": segment})

    def text(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self), indent=2)

    @classmethod
    def read(cls, path: Path) -> Job:
        """From a file with :meth:`text`."""
        entries = json.loads(path.read_text()).items()
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in entries}
        return cls(**fields)
