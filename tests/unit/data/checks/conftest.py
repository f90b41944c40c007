from __future__ import annotations

from pathlib import Path

import pytest
from spoilt import Stack, stack_of

from emsam.data.store import Volume
from emsam.data.synthetic import synthesize_volume


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Volume:
    """The volume that `emsam data synthetic demo` writes, with fewer slices."""
    store: Path = tmp_path_factory.mktemp("checks") / "data" / "demo" / "volume.zarr"
    return synthesize_volume("demo", store, shape=(20, 256, 256))


@pytest.fixture
def stack(demo: Volume) -> Stack:
    """19 slices of 256 × 256 of both tasks, in which nothing is wrong."""
    return stack_of(demo)
