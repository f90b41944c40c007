"""How many files a published volume is: remotes are slow at many small ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from emsam.data.digest import folder_digest
from emsam.data.halving import image_levels
from emsam.data.store import VolumeInfo
from emsam.data.writer import VolumeWriter
from tests.conftest import Laboratory

pytestmark = pytest.mark.slow
SHAPE = (100, 1024, 1024)
MOST = 60


def files_below(folder: Path) -> int:
    return sum(path.is_file() for path in folder.rglob("*"))


def test_a_volume_of_100_slices_is_at_most_60_files_in_cache_and_remote(lab: Laboratory) -> None:
    """Image and labels of both tasks; voxels that compress well, for the count is the shards'."""
    store = lab.path / "data" / "big" / "volume.zarr"
    store.parent.mkdir(parents=True)
    types = {task: np.dtype(np.uint32) for task in ("neurites", "mitochondria")}
    ids = np.ones(SHAPE[1:], np.uint32)
    with VolumeWriter(store, SHAPE, np.dtype(np.uint8), types) as writer:
        for z in range(SHAPE[0]):
            image = np.full(SHAPE[1:], z + 1, np.uint8)
            writer.append(image_levels(image), dict.fromkeys(types, ids))
        writer.finish(VolumeInfo("big", (30.0, 8.0, 8.0)))
    assert files_below(store) <= MOST
    assert lab.json("data", "publish", "big")["digest"] == folder_digest(store)
    for touched in (lab.path / ".git/emsam-dvc-cache", lab.path / ".emsam/dvc-remote"):
        assert 10 < files_below(touched) <= MOST
