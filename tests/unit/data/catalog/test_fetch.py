"""Downloads of data sets, from a server that does everything wrong that servers do."""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from emsam.data.catalog import CATALOG, Entry
from emsam.data.catalog.entry import Download
from emsam.data.catalog.get import Places
from emsam.data.catalog.raw_files import Stage, fetch
from emsam.data.web import Remedies, download
from emsam.errors import InputError
from tests.web_server import WebServer

CONTENT = bytes(range(256)) * 4000
FILE = "em.tif"
REMEDIES = Remedies("fetch it yourself", "free space")


@pytest.fixture
def entry(server: WebServer) -> Entry:
    """A data set of one file, on the server, whose checksum nobody has published."""
    (server.folder / FILE).write_bytes(CONTENT)
    return replace(CATALOG["epfl"], downloads=(Download(f"{server.url}/{FILE}", FILE),))


@pytest.fixture
def folder(places: Places, entry: Entry) -> Path:
    made = places.folder(entry)
    made.mkdir(parents=True)
    return made


@pytest.fixture
def stage() -> Stage:
    from contextlib import nullcontext

    return lambda what, in_bytes: nullcontext()


def line_of(call: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def published(entry: Entry, checksum: str) -> Entry:
    (only,) = entry.downloads
    return replace(entry, downloads=(replace(only, checksum=checksum, checksum_from="them"),))


def test_a_broken_download_goes_on(
    server: WebServer, entry: Entry, folder: Path, stage: Stage
) -> None:
    server.breaks = [300_000, 0]
    line = line_of(lambda: fetch(entry, folder, "", stage))
    assert f"{server.url}/{FILE}: the connection broke after 300,000 of 1,024,000 bytes" in line
    assert "run the same command again to go on" in line
    assert names(folder) == [f"{FILE}.part", f"{FILE}.part.json"]
    places = fetch(entry, folder, "", stage)
    assert server.asked == ["", "bytes=300000-", "bytes=300000-"]
    assert places[FILE].read_bytes() == CONTENT
    assert names(folder) == ["checksums.json", FILE]
    fetch(entry, folder, "", stage)  # nothing is asked for
    assert len(server.asked) == 3


def test_a_body_that_is_always_cut_short(
    server: WebServer, entry: Entry, folder: Path, stage: Stage
) -> None:
    server.ranges, server.breaks = False, [700_000, 500_000, 600_000]
    line = line_of(lambda: fetch(entry, folder, "", stage))
    assert "the connection broke after 500,000 of 1,024,000 bytes" in line
    assert not (folder / FILE).exists()


def test_a_file_that_changed_between_two_attempts_is_never_mixed(
    server: WebServer, entry: Entry, folder: Path, stage: Stage
) -> None:
    server.breaks = [300_000, 0]
    line_of(lambda: fetch(entry, folder, "", stage))
    other = CONTENT[::-1] + b"longer"
    (server.folder / FILE).write_bytes(other)
    assert fetch(entry, folder, "", stage)[FILE].read_bytes() == other


def test_a_part_that_nobody_knows_starts_anew(
    server: WebServer, entry: Entry, folder: Path, stage: Stage
) -> None:
    (folder / f"{FILE}.part").write_bytes(b"something else")
    assert fetch(entry, folder, "", stage)[FILE].read_bytes() == CONTENT
    assert server.asked == [""]


def test_published_checksums(server: WebServer, entry: Entry, folder: Path, stage: Stage) -> None:
    wrong = published(entry, "md5:" + "0" * 32)
    line = line_of(lambda: fetch(wrong, folder, "", stage))
    md5 = hashlib.md5(CONTENT).hexdigest()
    assert f"its md5 begins with {md5[:12]}, published (them) is 000000000000" in line
    assert names(folder) == []
    right = published(entry, f"md5:{md5}")
    path = fetch(right, folder, "", stage)[FILE]
    path.write_bytes(CONTENT[:-1])
    line = line_of(lambda: fetch(right, folder, "", stage))
    assert line.startswith(f"{path}: its md5 begins with")
    assert line.endswith("remove it and run the same command again")


def test_a_checksum_that_nobody_published_is_that_of_the_first_download(
    server: WebServer, entry: Entry, folder: Path, stage: Stage
) -> None:
    path = fetch(entry, folder, "", stage)[FILE]
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    assert json.loads((folder / "checksums.json").read_text()) == {FILE: sha256}
    path.unlink()  # the checksum stays
    (server.folder / FILE).write_bytes(CONTENT[::-1])
    line = line_of(lambda: fetch(entry, folder, "", stage))
    assert f"recorded at the first download is {sha256[:12]}" in line
    assert f"remove {folder / 'checksums.json'} first" in line
    assert names(folder) == ["checksums.json"]
    (folder / "checksums.json").write_text("[]")
    assert "checksums.json: damaged" in line_of(lambda: fetch(entry, folder, "", stage))
    (folder / "checksums.json").unlink()
    assert fetch(entry, folder, "", stage)[FILE].read_bytes() == CONTENT[::-1]


def test_what_servers_say_instead_of_a_file(
    server: WebServer, entry: Entry, folder: Path, stage: Stage
) -> None:
    def line(headers: dict[str, str] | None = None) -> str:
        server.headers = headers or {}
        said = line_of(lambda: fetch(entry, folder, "", stage))
        assert said.startswith(f"{server.url}/{FILE}: ")
        assert "training_groundtruth.tif" in said  # what to do by hand
        assert "--from PATH" in said
        assert names(folder) == []
        return said

    (server.folder / "login.html").write_text("<html>who are you?</html>")
    server.redirects = {f"/{FILE}": "/login.html"}
    assert f"a web page, not a file ({server.url}/login.html)" in line()
    server.redirects = {}
    (server.folder / FILE).write_text("\n<!DOCTYPE html><title>Log in</title>")
    assert "a web page, not a file" in line()  # though it says that it is a file
    (server.folder / FILE).write_bytes(CONTENT)
    assert "does not say how long the file is" in line({"Content-Length": ""})
    (server.folder / FILE).unlink()
    assert "HTTP 404 Not Found" in line()


def test_no_connection(entry: Entry, folder: Path, stage: Stage) -> None:
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        mirror = f"http://127.0.0.1:{taken.getsockname()[1]}"
        line = line_of(lambda: fetch(entry, folder, mirror, stage))
    assert f"{mirror}/epfl/{FILE}: cannot be reached" in line
    assert names(folder) == []


def test_a_redirect_to_the_file_is_followed(
    server: WebServer, entry: Entry, folder: Path, stage: Stage
) -> None:
    (server.folder / FILE).rename(server.folder / "elsewhere.tif")
    server.redirects = {f"/{FILE}": "/elsewhere.tif"}
    assert fetch(entry, folder, "", stage)[FILE].read_bytes() == CONTENT


def test_a_full_disk(server: WebServer, entry: Entry, tmp_path: Path) -> None:
    part = tmp_path / "file.part"
    part.symlink_to("/dev/full")
    line = line_of(lambda: download(f"{server.url}/{FILE}", part, None, REMEDIES))
    assert f"{part}: No space left on device; free space" in line


def test_what_only_a_person_can_fetch(refused: Callable[..., str], places: Places) -> None:
    manual = replace(CATALOG["isbi2012"], downloads=(), how="register at X and take Y")
    line = refused(manual)
    assert line == (
        "isbi2012: cannot be fetched by a program; register at X and take Y; then "
        "'emsam data get isbi2012 --from PATH'"
    )
    assert manual.got == "by hand"


def test_a_store_of_something_else_is_not_touched(
    refused: Callable[..., str], places: Places
) -> None:
    from emsam.data.synthetic import synthesize_volume

    store = places.store("epfl")
    synthesize_volume("epfl", store, shape=(8, 64, 64))
    assert f"{store}: exists already and is not epfl; choose another name with --as" in refused(
        CATALOG["epfl"]
    )
    assert not places.downloads.exists()
