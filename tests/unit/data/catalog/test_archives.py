from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from emsam.data.catalog.archives import unpack
from emsam.errors import InputError

MOST = 1 << 20


def zipped(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name.replace("__", "/"), content)
    return path


def tarred(path: Path, change: Callable[[tarfile.TarInfo], object]) -> Path:
    with tarfile.open(path, "w:gz") as file:
        member = tarfile.TarInfo("a/b.tif")
        member.size = 3
        change(member)
        file.addfile(member, io.BytesIO(b"tif"))
    return path


def refusal(archive: Path, most: int = MOST) -> str:
    """The line; nothing may have been written outside of the folder."""
    target = archive.parent / "target"
    with pytest.raises(InputError) as caught:
        unpack(archive, target, ["*.tif"], most)
    assert {each.name for each in archive.parent.iterdir()} <= {archive.name, "target", "outside"}
    assert "\n" not in str(caught.value)
    assert str(archive) in str(caught.value)
    return str(caught.value)


def test_only_what_is_wanted_is_unpacked(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", a__b=b"", a__im1_tif=b"x")
    with zipfile.ZipFile(archive, "a") as file:
        for name in ("a/b/1.tif", "a/.hidden.tif", "__MACOSX/._1.tif", "a/readme.txt"):
            file.writestr(name, name)
    seen: list[tuple[int, int]] = []
    unpack(archive, tmp_path / "out", ["b/*.tif"], MOST, lambda *each: seen.append(each))
    assert [path.name for path in (tmp_path / "out").rglob("*.*")] == ["1.tif"]
    assert seen == [(9, 9)]
    same = tarred(tmp_path / "a.tar.gz", lambda member: None)
    unpack(same, tmp_path / "out", ["*.tif"], MOST)
    assert (tmp_path / "out" / "a" / "b.tif").read_bytes() == b"tif"


@pytest.mark.parametrize(
    "name", ["../outside.tif", "/outside.tif", "a/../../o.tif", "..\\o.tif", "c:o.tif"]
)
def test_paths_that_lead_out(name: str, tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(name, "x")
    assert "leads out of the archive" in refusal(archive)
    tar = tarred(tmp_path / "target.tar.gz", lambda member: setattr(member, "name", name))
    archive.unlink()
    assert "leads out of the archive" in refusal(tar)


def test_links_and_devices(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as file:
        link = zipfile.ZipInfo("a.tif")
        link.external_attr = 0o120777 << 16
        file.writestr(link, "/etc/passwd")
    assert "a.tif is a link" in refusal(archive)
    archive.unlink()
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):

        def become(member: tarfile.TarInfo, kind: bytes = kind) -> None:
            member.type, member.linkname, member.size = kind, "/etc/passwd", 0

        assert "is a link or a device" in refusal(tarred(tmp_path / "a.tar.gz", become))


def test_a_bomb_is_stopped_whatever_it_says_of_its_size(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", a_tif=b"")
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as file:
        file.writestr("bomb.tif", bytes(50 << 20))
    assert archive.stat().st_size < 100_000
    assert "unpacks to more than 1,048,576 bytes" in refusal(archive)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.tif")) <= MOST


def test_damaged_archives(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.tif", bytes(range(256)) * 40)
    whole = archive.read_bytes()
    archive.write_bytes(whole[:-100])
    assert "cannot be unpacked" in refusal(archive)
    spoilt = bytearray(whole)
    spoilt[500] ^= 255
    archive.write_bytes(spoilt)
    assert "Bad CRC-32" in refusal(archive)
    archive.write_bytes(b"<html>")
    assert "not a zip file" in refusal(archive)
    archive.unlink()
    tar = tarred(tmp_path / "a.tar.gz", lambda member: None)
    tar.write_bytes(tar.read_bytes()[:60])
    assert "it is truncated or damaged, fetch it again" in refusal(tar)


def test_a_file_that_is_there_twice(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.tif", "1")
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("a.tif", "2")
    (tmp_path / "target").mkdir()
    assert "has a.tif twice" in refusal(archive)


def test_metadata_of_a_member_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    def lie(member: tarfile.TarInfo) -> None:
        member.pax_headers = {"GNU.sparse.map": "../x", "GNU.sparse.size": "y"}

    assert "cannot be unpacked" in refusal(tarred(tmp_path / "a.tar.gz", lie))
