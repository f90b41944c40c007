"""What an ingest saw of the slabs that it wrote, so that a killed one can be gone on with."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

Lists = Mapping[str, list[Any]]
"""By name, what is kept of the slices; each list only grows at its end.

Items are numbers, arrays, or sequences of those.
"""
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class Journal:
    """Lines of JSON: what is made, and then for each slab what was added to the lists.

    A slab's line is written when its voxels are in the files. They are not forced to the disk, so
    a journal from before the machine was started again is not believed.

    Parameters
    ----------
    path
        The file; where it is of something else, or torn, what is wrong is dropped.
    making
        What is made, with all that decides on its bytes; empty keeps no journal.

    Attributes
    ----------
    slices
        How many slices are written.
    lists
        What was kept of them; empty where there are none.
    """

    def __init__(self, path: Path, making: str) -> None:
        self._path = path
        boot = _BOOT.read_text().strip() if _BOOT.exists() else ""
        self._header = json.dumps({"making": making, "boot": boot}) if making and boot else ""
        self.slices = 0
        self.lists: dict[str, list[Any]] = {}
        self._lengths: dict[str, int] = {}
        self._noted = (0, "")
        whole = self._read()
        if self._header:
            path.write_bytes(whole or f"{self._header}\n".encode())

    def _read(self) -> bytes:
        """The lines that are whole; fills :attr:`slices` and :attr:`lists`."""
        content = self._path.read_bytes() if self._path.is_file() else b""
        lines = content.splitlines(keepends=True)
        if not self._header or not lines or lines[0] != f"{self._header}\n".encode():
            return b""
        whole = lines[0]
        for line in lines[1:]:
            if not line.endswith(b"\n"):  # torn as its writer was killed
                break
            entry = json.loads(line, object_hook=_decode)
            self.slices = entry["slices"]
            for name, items in entry["lists"].items():
                self.lists.setdefault(name, []).extend(items)
            whole += line
        self._lengths = {name: len(items) for name, items in self.lists.items()}
        return whole

    def turn(self, slices: int, lists: Lists) -> None:
        """A slab was handed to the writer, ``slices`` in all; the one before it is written."""
        if not self._header:
            return
        written, line = self._noted
        if line:
            with self._path.open("a") as stream:
                stream.write(line)
            self.slices = written
        new = {name: items[self._lengths.get(name, 0) :] for name, items in lists.items()}
        self._lengths = {name: len(items) for name, items in lists.items()}
        entry = {"slices": slices, "lists": new}
        self._noted = (slices, json.dumps(entry, default=_encode) + "\n")


def _encode(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        packed = base64.b64encode(value.tobytes()).decode()
        return {"array": packed, "dtype": value.dtype.str, "shape": value.shape}
    return value.item()


def _decode(value: dict[str, Any]) -> Any:
    if "array" not in value:
        return value
    content = base64.b64decode(value["array"])
    return np.frombuffer(content, value["dtype"]).reshape(value["shape"])
