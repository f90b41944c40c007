"""``emsam data list`` and ``emsam data get``: what their user types and sees."""

from __future__ import annotations

import json
import signal
import subprocess
import time
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tifffile

from emsam.data.catalog import CATALOG
from emsam.settings import Settings
from tests.cli.conftest import Run
from tests.conftest import Laboratory
from tests.web_server import serve

ARCHIVE = "ISBI-2012-challenge.zip"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache in a place that only the user's environment tells."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home cache"))
    return tmp_path / "home cache" / "emsam" / "downloads"


@pytest.fixture
def emsam(cache: Path, typed: Run) -> Run:
    """Runs ``emsam data``; returns its exit status and what it printed."""
    return partial(typed, "data")


def write_isbi2012(folder: Path, *, size: int = 16) -> Path:
    """The challenge's archive, with small slices."""
    folder.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(0).integers(1, 255, (30, size, size), dtype=np.uint8)
    mask = np.full_like(image, 255)
    mask[:, 7] = 0
    with zipfile.ZipFile(folder / ARCHIVE, "w") as file:
        for name, data in (("train-volume.tif", image), ("train-labels.tif", mask)):
            tifffile.imwrite(folder / name, data, photometric="minisblack")
            file.write(folder / name, f"ISBI-2012-challenge/{name}")
    return folder / ARCHIVE


def test_list_and_get(emsam: Run, cache: Path, tmp_path: Path) -> None:
    archive = write_isbi2012(tmp_path / "mine")
    status, out, err = emsam("list")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[1].split()[:3] == ["name", "tissue", "task"]
    assert [line.split()[0] for line in lines[2:-1]] == list(CATALOG)
    assert lines[-1] == f"downloads are kept in {cache}"
    assert all(line.endswith(" -") for line in lines[2:-1])

    status, out, err = emsam("get", "isbi2012", "--from", str(archive), "--json")
    assert (status, err) == (0, "")
    (document,) = json.loads(out)
    assert document["name"] == "isbi2012"
    assert (document["shape"], document["tasks"]) == ([30, 16, 16], ["neurites"])
    assert document["splits"] == {"train": [0, 23], "val": [24, 29]}
    assert document["voxel_size"] == [50, 4, 4]
    assert document["provenance"]["citation"].startswith("Cardona et al., PLoS Biol")
    assert f"{ARCHIVE} sha256:" in document["provenance"]["files"]

    status, out, err = emsam("get", "isbi2012")  # is there: nothing is fetched
    assert (status, err) == (0, "")
    assert "shape 30 × 16 × 16" in out
    assert "licence: non-commercial image segmentation software only" in out
    (row,) = [each for each in json.loads(emsam("list", "--json")[1]) if each["here"]]
    assert (row["name"], row["here"]) == ("isbi2012", "volume")
    assert row["citation"] == CATALOG["isbi2012"].citation
    assert row["files"][0]["url"] == "https://downloads.imagej.net/ISBI-2012-challenge.zip"


def test_bad_input_is_one_line(
    emsam: Run, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def line(*arguments: str) -> str:
        status, out, err = emsam("get", *arguments)
        assert (status, out, err.count("\n")) == (2, "", 1), err
        assert not (tmp_path / "data").exists()
        return err

    assert "isbi: no such data set; one of snemi3d, mitoem-r" in line("isbi")
    assert "--from none.zip: no such file or folder" in line("isbi2012", "--from", "none.zip")
    assert "a volume's name has letters" in line("isbi2012", "--as", "a/b")
    (tmp_path / "snemi.zip").write_bytes(b"PK")
    assert "published (Zenodo" in line("snemi3d", "--from", "snemi.zip")
    (tmp_path / ARCHIVE).write_bytes(b"PK")
    assert f"{ARCHIVE}: cannot be unpacked" in line("isbi2012", "--from", ARCHIVE)
    monkeypatch.setenv("EMSAM_DOWNLOADS_URL", "http://127.0.0.1:9/mirror")
    monkeypatch.setenv("no_proxy", "*")
    said = line("cremi-a")
    assert "http://127.0.0.1:9/mirror/cremi-a/sample_A_20160501.hdf: cannot be reached" in said
    assert "from https://cremi.org/data, and give what you got with --from PATH" in said
    monkeypatch.setenv("EMSAM_DOWNLOADS_ROOT", str(tmp_path / "snemi.zip"))
    assert "set EMSAM_DOWNLOADS_ROOT to another folder" in line("cremi-a")


def test_remove_leaves_the_checksums(
    emsam: Run, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_isbi2012(tmp_path / "www" / "isbi2012")
    monkeypatch.setenv("no_proxy", "*")
    with serve(tmp_path / "www") as server:
        monkeypatch.setenv("EMSAM_DOWNLOADS_URL", server.url)
        status, out, _ = emsam("get", "isbi2012", "--as", "vnc", "--remove")
        assert (status, len(server.asked)) == (0, 1)
    assert "downloaded files" not in out
    left = {each.name for each in (cache / "isbi2012").iterdir()}
    assert left == {"checksums.json", "lock", "volumes-vnc.txt"}
    assert (tmp_path / "data" / "vnc" / "volume.zarr").is_dir()


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "kill"])
def test_a_stopped_download_goes_on(
    how: signal.Signals,
    lab: Laboratory,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    size = write_isbi2012(tmp_path / "www" / "isbi2012", size=512).stat().st_size
    part = cache / "isbi2012" / f"{ARCHIVE}.part"
    monkeypatch.setenv("no_proxy", "*")
    with serve(tmp_path / "www") as server:
        server.pause = 0.2
        environment = lab.environment | {"EMSAM_DOWNLOADS_URL": server.url}
        command = lab.command("data", "get", "isbi2012", "--json")
        process = subprocess.Popen(command, cwd=lab.path, env=environment, stderr=subprocess.PIPE)
        try:
            while process.poll() is None and not (part.exists() and part.stat().st_size):
                time.sleep(0.05)
            process.send_signal(how)
            process.communicate(timeout=60)
        finally:
            process.kill()
        assert process.returncode == (130 if how is signal.SIGINT else -how)
        came, server.pause = part.stat().st_size, 0.0
        assert 0 < came < size
        assert not (lab.path / "data").exists()
        done = subprocess.run(
            command, cwd=lab.path, env=environment, capture_output=True, text=True, check=True
        )
    assert server.asked == ["", f"bytes={came}-"]
    assert json.loads(done.stdout)[0]["shape"] == [30, 512, 512]


def test_where_downloads_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("EMSAM_DOWNLOADS_ROOT", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Settings().downloads_root == tmp_path / ".cache" / "emsam" / "downloads"
    monkeypatch.setenv("EMSAM_DOWNLOADS_ROOT", "raw")
    assert Settings().downloads_root == Path("raw")
