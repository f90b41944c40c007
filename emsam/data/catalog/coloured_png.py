"""PNG slices of masks that were saved as colour images."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from emsam.data.digest import file_xxh3
from emsam.data.readers.content import refuse_other_content
from emsam.data.readers.folder import in_order
from emsam.data.readers.png import read_png
from emsam.data.readers.stack import FileDigest, Stack, reading
from emsam.errors import InputError


class ColouredPngStack(Stack):
    """PNG slices of one channel, or of colours that are all the same, as masks are often saved.

    Transparent pixels are 0.
    """

    def __init__(self, files: Sequence[Path], name: str) -> None:
        self._files = in_order(name, list(files))
        first = self._read(name, self._files[0])
        super().__init__(name, (len(self._files), *first.shape), first.dtype)

    def _planes(self, first: int) -> Iterator[np.ndarray]:
        for path in self._files[first:]:
            yield self._read(self.name, path)

    @staticmethod
    def _read(name: str, path: Path) -> np.ndarray:
        where = f"{name}/{path.name}"
        refuse_other_content(path, where)
        with reading(where, "PNG"):
            pixels = read_png(path)
        if pixels.ndim == 2:
            return pixels
        alpha = pixels.shape[2] in (2, 4)
        colours = pixels[..., :-1] if alpha else pixels
        if (colours != colours[..., :1]).any():
            raise InputError(f"{where}: a coloured image; a mask is black and white")
        grey = colours[..., 0]
        return np.where(pixels[..., -1] > 0, grey, grey.dtype.type(0)) if alpha else grey

    def identity(self, digest: FileDigest = file_xxh3) -> str:
        """Names and digests of all files, in order."""
        return json.dumps([[path.name, digest(path)] for path in self._files])
