"""What a worker does: one task after the other, each of which leaves a file.

A task can be done by any thread, process or machine that sees the folder, twice if need be: its
files are the same and appear when they are whole.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

import numpy as np
from torch import nn

from emsam.model.folding import fold_norms
from emsam.model.package import load_network
from emsam.params import Params, load_params
from emsam.segment.blocks.files import FETCHED, JOB, PARAMS, WEIGHTS, slice_file, window_file
from emsam.segment.blocks.grid import Box, Grid
from emsam.segment.blocks.job import Job
from emsam.segment.blocks.join import join_windows
from emsam.segment.blocks.maps import SliceMaps
from emsam.segment.blocks.output import write_shard
from emsam.segment.blocks.pairs import count_shared
from emsam.segment.blocks.source import Source
from emsam.segment.blocks.window import write_window


@dataclass(frozen=True)
class Task:
    """``slice`` (z,), ``pair`` (z, z) or ``shard`` (level, z, y, x)."""

    kind: Literal["slice", "pair", "shard"]
    where: tuple[int, ...]


@dataclass
class Work:
    """A job as a worker has it open; threads share it.

    Attributes
    ----------
    keep
        Bytes of maps that a slice keeps for its next windows.
    given
        The network, if it is at hand; else it is loaded from the folder.
    turn
        Held by the thread that uses the network.
    stop
        Set when what is not finished shall be left.
    """

    folder: Path
    keep: int
    given: nn.Module | None = None
    turn: threading.Lock = field(default_factory=threading.Lock)
    stop: threading.Event = field(default_factory=threading.Event)
    _folded: nn.Module | None = field(default=None, init=False)

    @cached_property
    def job(self) -> Job:
        return Job.read(self.folder / JOB)

    @cached_property
    def params(self) -> Params:
        return load_params(self.folder / PARAMS)

    @cached_property
    def grid(self) -> Grid:
        return self.job.grid(self.params)

    @cached_property
    def source(self) -> Source:
        return Source(self.job, self.folder.parent / FETCHED)

    @property
    def network(self) -> nn.Module:
        with self.turn:  # one thread loads it
            if self._folded is None:
                files = self.folder / WEIGHTS, self.folder / PARAMS
                self._folded = fold_norms(self.given or load_network(*files)[0])
            return self._folded

    def opened(self) -> Self:
        """Itself, with all read that threads share."""
        _ = self.job, self.params, self.grid, self.source
        return self

    def close(self) -> None:
        """Let go of the input, if it was opened."""
        if "source" in vars(self):
            self.source.close()

    def do(self, task: Task) -> None:
        """Do a task that is not done yet.

        Raises
        ------
        InputError
            See :meth:`Source.image`.
        """
        if task.kind == "slice":
            self._segment(task.where[0])
        elif task.kind == "pair":
            count_shared(self.folder, self.grid, task.where[0], task.where[1])
        else:
            level, z, y, x = task.where
            write_shard(self.folder, self.job, self.grid, level, (z, y, x))

    def _segment(self, z: int) -> None:
        """All windows of a slice that are not there yet, and then its objects."""
        if slice_file(self.folder, z).exists():
            return
        maps = SliceMaps(
            self.network, self.source, z, self.grid, self.params, bf16=self.job.bf16,
            plane=self.job.shape[1:], turn=self.turn, keep=self.keep,
        )  # fmt: skip
        for window in range(len(self.grid.windows)):
            if self.stop.is_set():
                return
            path = window_file(self.folder, z, window)
            if not path.exists():
                self._window(path, maps, z, window)
        join_windows(self.folder, z, self.grid, self.params.min_confidence)

    def _window(self, path: Path, maps: SliceMaps, z: int, window: int) -> None:
        outer, core = self.grid.outer(window), self.grid.windows[window]
        wanted = self.source.mask(z, outer)
        if wanted is not None and not wanted[core.inside(outer)].any():
            write_window(path, None, self.grid, window, self.params, None, [])
            return
        found = maps.window(window)
        damaged = [box for box in maps.damaged if box.common(outer).pixels]
        excluded = _excluded(outer, wanted, damaged)
        write_window(path, found, self.grid, window, self.params, excluded, damaged)


def _excluded(outer: Box, wanted: np.ndarray | None, damaged: list[Box]) -> np.ndarray | None:
    """Pixels (y, x) without objects: outside the mask, and where the image is damaged."""
    if wanted is None and not damaged:
        return None
    excluded = np.zeros(outer.shape, bool) if wanted is None else ~wanted
    for box in damaged:
        excluded[box.common(outer).inside(outer)] = True
    return excluded


_opened: dict[str, Work] = {}
_opening = threading.Lock()


def do_task(folder: str, keep: int, task: Task) -> None:
    """Do a task of the job in ``folder``, which this process opens once."""
    with _opening:
        work = _opened.get(folder)
        if work is None:
            _opened.clear()  # jobs come one after the other
            work = _opened[folder] = Work(Path(folder), keep).opened()
    work.do(task)
