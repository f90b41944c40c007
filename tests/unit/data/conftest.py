"""A source to ingest, and where its volume goes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from emsam.data.ingest import Source

VOXEL = (30.0, 8.0, 8.0)


@pytest.fixture
def source(write_tiff: Callable[..., Path], grey_stack: np.ndarray, id_stack: np.ndarray) -> Source:
    """A good image with labels of neurites."""
    image, labels = write_tiff("em.tif", grey_stack), write_tiff("ids.tif", id_stack)
    return Source(image, {"neurites": labels}, VOXEL)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "data" / "ca1" / "volume.zarr"
