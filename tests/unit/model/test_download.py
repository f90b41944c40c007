from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

from weights_files import NAME, names, refusal

from emsam.model.download import download
from emsam.model.weights import get_weights
from tests.web_server import WebServer


def test_a_download_that_ends_early_is_kept_and_resumed(
    server: WebServer, tmp_path: Path, root: Path, publish: Callable[[Path], None]
) -> None:
    whole = server.folder / NAME
    publish(whole)
    server.breaks = [300_000, 0]
    line = refusal(lambda: get_weights("vit_b", root, url=server.url))
    assert f"{server.url}/{NAME}: the connection broke after 300,000 of 1,024,000 bytes" in line
    assert "run the same command again" in line
    assert names(root) == [f"{NAME}.part"]

    part, seen = root / f"{NAME}.part", []
    download(f"{server.url}/{NAME}", part, 1_024_000, lambda done, total: seen.append(done))
    assert server.asked == ["", "bytes=300000-", "bytes=300000-"]
    assert part.read_bytes() == whole.read_bytes()
    assert min(seen) > 300_000
    download(f"{server.url}/{NAME}", part, 1_024_000)  # nothing is missing
    assert len(server.asked) == 3


def test_a_server_without_ranges_sends_it_all_again(server: WebServer, tmp_path: Path) -> None:
    part = tmp_path / "file.part"
    server.ranges, server.breaks = False, [400_000, 700_000, 500_000]
    line = refusal(lambda: download(f"{server.url}/{NAME}", part, 1_024_000))
    assert "the connection broke after 500,000" in line
    download(f"{server.url}/{NAME}", part, 1_024_000)
    assert part.read_bytes() == (server.folder / NAME).read_bytes()


def test_a_part_that_is_too_long_starts_anew(server: WebServer, tmp_path: Path) -> None:
    part = tmp_path / "file.part"
    part.write_bytes(bytes(2_000_000))
    download(f"{server.url}/{NAME}", part, 1_024_000)
    assert part.read_bytes() == (server.folder / NAME).read_bytes()


def test_a_server_cannot_send_more_than_the_file(server: WebServer, tmp_path: Path) -> None:
    part = tmp_path / "file.part"
    server.headers = {"Content-Length": "?"}
    download(f"{server.url}/{NAME}", part, 1000)
    assert part.stat().st_size == 1000


def test_a_download_to_a_full_disk_is_bad_input(server: WebServer, tmp_path: Path) -> None:
    part = tmp_path / "file.part"
    part.symlink_to("/dev/full")
    line = refusal(lambda: download(f"{server.url}/{NAME}", part, 1_024_000))
    assert f"{part}: No space left on device; free space, or set EMSAM_WEIGHTS_ROOT" in line


def test_what_servers_say_instead_of_a_file(server: WebServer, root: Path) -> None:
    def line(url: str) -> str:
        said = refusal(lambda: get_weights("vit_b", root, url=url))
        assert names(root) == []
        assert said.startswith(f"{url}/{NAME}: ")
        assert "EMSAM_WEIGHTS_URL" in said
        assert "--from FILE" in said
        return said

    assert "a file of 1,024,000 bytes, not 375,042,383" in line(server.url)
    server.headers = {"Content-Type": "text/html; charset=utf-8"}
    assert "a web page, not a file" in line(server.url)
    assert "HTTP 404 Not Found" in line(f"{server.url}/elsewhere")
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        assert "cannot be reached" in line(f"http://127.0.0.1:{taken.getsockname()[1]}")
    assert "cannot be reached" in line("http://name.invalid")
    assert "cannot be reached" in line("http://127.0.0.1:port")
    for url in ("file:///etc", "ftp://127.0.0.1", "nonsense"):
        assert "no address of the web" in line(url)
