"""``emsam weights``: what its user types and sees."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

from emsam.data.digest import file_sha256
from emsam.model.weights_cache import OFFICIAL, OfficialFile
from emsam.settings import Settings
from tests.cli.conftest import Run
from tests.conftest import Laboratory
from tests.sam_files import flat_state
from tests.web_server import WebServer, serve

NAME = "sam_vit_b_01ec64.pth"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a whole checkpoint of ViT-B under Meta's name, small for what it holds."""
    folder = tmp_path_factory.mktemp("published")
    torch.save(flat_state("vit_b"), folder / NAME)
    return folder


@pytest.fixture
def server(published: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    """Serves Meta's file, and is where ``emsam`` looks for it."""
    monkeypatch.setenv("no_proxy", "*")
    with serve(published) as running:
        monkeypatch.setenv("EMSAM_WEIGHTS_URL", running.url)
        yield running


@pytest.fixture
def official(published: Path, monkeypatch: pytest.MonkeyPatch) -> OfficialFile:
    file = published / NAME
    mine = OfficialFile(NAME, file_sha256(file), file.stat().st_size)
    monkeypatch.setitem(OFFICIAL, "vit_b", mine)
    return mine


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache in a place that only the user's environment tells."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home cache"))
    folder = tmp_path / "home cache" / "emsam" / "weights"
    yield folder
    for file in folder.rglob("*.safetensors"):
        file.unlink()


@pytest.fixture
def emsam(cache: Path, typed: Run) -> Run:
    """Runs ``emsam weights``; returns its exit status and what it printed."""
    return partial(typed, "weights")


def test_get_downloads_once_and_list_shows_it(
    emsam: Run, cache: Path, server: WebServer, official: OfficialFile
) -> None:
    assert emsam("list") == (0, f"weights in {cache}: none\n", "")
    status, out, err = emsam("get", "vit_b", "--json")
    assert (status, err) == (0, "")
    document = json.loads(out)
    path = Path(document["path"])
    assert path == cache / f"vit_b-{official.sha256[:12]}" / "encoder.safetensors"
    assert document == {
        "encoder": "vit_b",
        "sha256": official.sha256,
        "path": str(path),
        "path_sha256": file_sha256(path),
        "source": f"{server.url}/{NAME}",
        "official": True,
    }
    status, out, err = emsam("get", "vit_b")
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        f"vit_b from {server.url}/{NAME}",
        f"  sha256 {official.sha256}",
        f"  {path}",
    ]
    assert server.asked == [""]
    assert json.loads(emsam("list", "--json")[1]) == [document]
    row = emsam("list")[1].splitlines()[-1].split()
    assert row == ["vit_b", official.sha256[:12], "official", f"{server.url}/{NAME}"]


@pytest.mark.slow
def test_get_takes_a_local_file(lab: Laboratory, cache: Path, published: Path) -> None:
    mine = lab.path / "fine-tuned.pt"
    mine.write_bytes((published / NAME).read_bytes())
    document = lab.json("weights", "get", "vit_b", "--from", "fine-tuned.pt")
    assert document["source"] == "fine-tuned.pt"
    assert document["sha256"] == file_sha256(mine)
    assert document["official"] is False
    assert Path(document["path"]).is_relative_to(cache)
    assert lab.run("weights", "list").stdout.splitlines()[-1].split()[2:] == ["-", "fine-tuned.pt"]


def test_bad_input_is_one_line(
    emsam: Run, cache: Path, server: WebServer, published: Path, tmp_path: Path
) -> None:
    file = tmp_path / "half.pth"
    file.write_bytes((published / NAME).read_bytes()[:-1000])
    copy = tmp_path / NAME
    copy.write_bytes((published / NAME).read_bytes())

    def line(*arguments: str) -> str:
        status, out, err = emsam("get", *arguments)
        assert (status, out, err.count("\n")) == (2, "", 1), err
        assert not cache.exists() or list(cache.iterdir()) == []
        return err

    assert "vit_t: Meta published no weights of this encoder; choose vit_b" in line("vit_t")
    assert "none.pth: no such file" in line("vit_b", "--from", "none.pth")
    assert "half.pth: no checkpoint of torch.save, or truncated" in line(
        "vit_b", "--from", "half.pth"
    )
    assert f"{NAME}: its sha256 begins with" in line("vit_b", "--from", NAME)
    assert "half.pth: " in line("vit_b", "--from", "half.pth", "--json")
    assert f"{server.url}/{NAME}: a file of" in line("vit_b")
    assert f"{server.url}/sam_vit_l_0b3195.pth: HTTP 404 Not Found" in line("vit_l")


@pytest.mark.slow
def test_an_interrupted_download_goes_on(
    lab: Laboratory, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "www"
    folder.mkdir()
    with (folder / NAME).open("wb") as stream:
        stream.truncate(OFFICIAL["vit_b"].size)
    part = cache / f"{NAME}.part"
    monkeypatch.setenv("no_proxy", "*")
    with serve(folder) as server:
        server.pause = 0.05
        environment = lab.environment | {"EMSAM_WEIGHTS_URL": server.url}
        process = subprocess.Popen(
            lab.command("weights", "get", "vit_b"),
            cwd=lab.path,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            while process.poll() is None and not (part.exists() and part.stat().st_size):
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
        assert process.returncode == 130
        assert err == "emsam: interrupted; run the same command again to go on\n"
        assert [each.name for each in cache.iterdir()] == [part.name]

        came, server.pause = part.stat().st_size, 0.0
        done = subprocess.run(
            process.args, cwd=lab.path, env=environment, capture_output=True, text=True
        )
        assert server.asked == ["", f"bytes={came}-"]
    assert done.returncode == 2  # zeros from end to end are not what Meta published
    assert "sha256 of what came begins with" in done.stderr
    assert list(cache.iterdir()) == []


def test_list_loads_no_torch(cache: Path, tmp_path: Path) -> None:
    code = "import sys; from emsam.cli.weights import list_; list_(); print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"weights in {cache}: none\nFalse\n"


def test_where_weights_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("EMSAM_WEIGHTS_ROOT", "EMSAM_WEIGHTS_URL", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Settings().weights_root == tmp_path / ".cache" / "emsam" / "weights"
    assert Settings().weights_url == "https://dl.fbaipublicfiles.com/segment_anything"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    assert Settings().weights_root == tmp_path / ".cache" / "emsam" / "weights"
    monkeypatch.setenv("XDG_CACHE_HOME", "/scratch/cache")
    assert Settings().weights_root == Path("/scratch/cache/emsam/weights")
    monkeypatch.setenv("EMSAM_WEIGHTS_ROOT", "weights")
    assert Settings().weights_root == Path("weights")
