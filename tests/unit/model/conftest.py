"""Checkpoints and servers for the tests of SAM's weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from torch import Tensor
from weights_files import NAME

from emsam.data.digest import file_sha256
from emsam.model.weights_cache import OFFICIAL, OfficialFile
from tests.sam_files import flat_state
from tests.web_server import WebServer, serve


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A cache that does not exist yet; its contents go when the test is over."""
    folder = tmp_path / "cache" / "weights"
    yield folder
    for file in folder.rglob("*.safetensors"):
        file.unlink()


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Makes a file the one that Meta published for ViT-B."""

    def as_official(file: Path) -> None:
        official = OfficialFile(NAME, file_sha256(file), file.stat().st_size)
        monkeypatch.setitem(OFFICIAL, "vit_b", official)

    return as_official


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    """Serves a small file that is no checkpoint under Meta's name."""
    monkeypatch.setenv("no_proxy", "*")
    folder = tmp_path / "www"
    folder.mkdir()
    (folder / NAME).write_bytes(bytes(range(256)) * 4000)
    with serve(folder) as running:
        yield running


@pytest.fixture(scope="module")
def flat() -> dict[str, Tensor]:
    return flat_state("vit_b")
