"""Documents on disk: what JSON can hold, and when a file is safe."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any


def finite_or_none(tree: Any) -> Any:
    """Nested lists and mappings with ``None`` for every NaN and infinity."""
    if isinstance(tree, dict):
        return {key: finite_or_none(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [finite_or_none(value) for value in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree


def sync_path(path: Path) -> None:
    """Wait until a file, or the entries of a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
