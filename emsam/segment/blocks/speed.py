"""How far slices are, whoever works on them, and how fast."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from emsam.segment.blocks.files import slice_file, window_file
from emsam.segment.blocks.grid import Grid

_EVERY = 0.5
_AHEAD = 64
"""Slices without a file, beyond which no worker is looked for."""


class Speed:
    """Counts the files of windows, which threads, processes and other machines all leave."""

    def __init__(self, folder: Path, slices: Sequence[int], grid: Grid) -> None:
        self._folder, self._grid = folder, grid
        self._left = [z for z in slices if not slice_file(folder, z).exists()]
        self._windows = len(grid.windows)
        self._total = len(slices) * self._windows
        self._began = time.monotonic()
        self._looked, self._windows_begun = -_EVERY, 0
        self._at_first = self._count()

    def look(self, done: Sequence[int]) -> tuple[int, int, str]:
        """(done, total) windows, and throughput and time left in words.

        Parameters
        ----------
        done
            Slices that were finished since the last look.
        """
        gone = set(done)
        self._left = [z for z in self._left if z not in gone]
        if gone:
            self._looked = -_EVERY
        count, seconds = self._count(), time.monotonic() - self._began
        new = count - self._at_first
        if not new or not seconds:
            return count, self._total, "segmenting"
        voxels = new / self._windows * self._grid.region.pixels
        left = seconds / new * (self._total - count)
        note = f"segmenting, {voxels / seconds / 1e6:.2f} Mvoxel/s, {_time(left)} left"
        return count, self._total, note

    def _count(self) -> int:
        now = time.monotonic()
        if now - self._looked >= _EVERY:
            self._looked, self._windows_begun, absent = now, 0, 0
            for z in self._left:
                folder = window_file(self._folder, z, 0).parent
                if folder.is_dir():
                    self._windows_begun += sum(1 for each in folder.glob("[0-9]*.npz"))
                elif (absent := absent + 1) > _AHEAD:
                    break
        return self._total - len(self._left) * self._windows + self._windows_begun


def _time(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
