"""What the unit tests share: tiny volumes, TIFF files and a way to see that nothing was written."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, settings

from emsam.data.store import Volume
from emsam.data.synthetic import synthesize_volume

settings.register_profile(
    "unit",
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("unit")

WriteTiff = Callable[..., Path]


@pytest.fixture(autouse=True)
def one_torch_thread() -> Iterator[None]:
    """Tiny tensors: threads that wait for each other on a busy machine only cost time."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def write_tiff(tmp_path: Path) -> WriteTiff:
    """``write_tiff("em.tif", array, **options of tifffile)`` → path, below ``tmp_path/input``."""

    def write(name: str, array: np.ndarray, **options: Any) -> Path:
        path = tmp_path / "input" / name
        path.parent.mkdir(exist_ok=True)
        options = {"photometric": "minisblack"} | options
        tifffile.imwrite(path, array, **options)
        return path

    return write


@pytest.fixture
def grey_stack() -> np.ndarray:
    """uint8 noise of shape (5, 40, 48)."""
    return np.random.default_rng(1).integers(0, 256, (5, 40, 48), dtype=np.uint8)


@pytest.fixture
def id_stack() -> np.ndarray:
    """uint16 ids on the grid of ``grey_stack``: six columns, a background row between."""
    labels = np.zeros((5, 40, 48), np.uint16)
    labels[:, :, :] = np.arange(48) // 8 + 1
    labels[:, 20] = 0
    return labels


@pytest.fixture
def tree_of() -> Callable[[Path], dict[str, bytes | None]]:
    """Snapshot of a folder: every path below it, and the bytes of every file."""

    def snapshot(folder: Path) -> dict[str, bytes | None]:
        return {
            path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
            for path in sorted(folder.rglob("*"))
        }

    return snapshot


@pytest.fixture(scope="session")
def synthetic_volume(tmp_path_factory: pytest.TempPathFactory) -> Volume:
    """Synthetic volume of 12 × 96 × 112 voxels; read it only."""
    store = tmp_path_factory.mktemp("synthetic") / "demo" / "volume.zarr"
    return synthesize_volume("demo", store, shape=(12, 96, 112), seed=3)
