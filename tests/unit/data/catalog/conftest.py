"""An empty cache, a folder for volumes, a web server in place of the sources."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from emsam.data.catalog import CATALOG, Entry
from emsam.data.catalog.get import Places, get_volumes
from emsam.data.store import Volume
from emsam.errors import InputError
from tests.web_server import WebServer, serve

Get = Callable[..., list[Volume]]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    monkeypatch.setenv("no_proxy", "*")
    (tmp_path / "www").mkdir()
    with serve(tmp_path / "www") as running:
        yield running


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path / "cache", lambda name: tmp_path / "data" / name / "volume.zarr")


@pytest.fixture
def get(places: Places) -> Get:
    """Calls ``get_volumes`` without progress."""

    def call(entry: Entry, **options: object) -> list[Volume]:
        return get_volumes(entry, places, lambda what, in_bytes: nullcontext(), **options)

    return call


@pytest.fixture
def refused(get: Get) -> Callable[..., str]:
    """The one line with which ``get_volumes`` refuses."""

    def call(entry: Entry, **options: object) -> str:
        with pytest.raises(InputError) as caught:
            get(entry, **options)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return call


def unchecked(name: str, url: str = "") -> Entry:
    """An entry of which no checksum is published, served at ``url`` if that is given."""
    entry = CATALOG[name]
    served = [
        replace(each, checksum="", url=f"{url}/{each.name}" if url else each.url)
        for each in entry.downloads
    ]
    return replace(entry, downloads=tuple(served))


@pytest.fixture
def without_checksum() -> Callable[..., Entry]:
    return unchecked
