"""The file of a backup: whole, or refused."""

from __future__ import annotations

import io
import random
import tarfile
from contextlib import suppress
from pathlib import Path

import pytest

from emsam.backup.archive import MANIFEST, ArchiveWriter, members, new_archive, verify
from emsam.errors import InputError

CONTENT = {"a": b"x" * 3000, "runs/b": b"", "objects/c": bytes(range(256)) * 40}


def make(file: Path) -> Path:
    with new_archive(file) as (archive, _):
        for name, content in CONTENT.items():
            archive.add(name, io.BytesIO(content), len(content))
        archive.finish({"made": "now"})
    return file


def refusal(file: Path) -> str:
    with pytest.raises(InputError) as caught:
        verify(file)
    line = str(caught.value)
    assert "\n" not in line
    assert str(file) in line
    return line


def test_what_was_written_comes_back_and_only_we_may_read_it(tmp_path: Path) -> None:
    file = make(tmp_path / "b.tar")
    assert verify(file)["made"] == "now"
    found = {member.name: stream.read() for member, stream in members(file)}
    assert {name: found[name] for name in CONTENT} == CONTENT
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_nothing_is_overwritten_and_nothing_half_is_left(tmp_path: Path) -> None:
    file = make(tmp_path / "b.tar")
    before = file.read_bytes()
    with pytest.raises(InputError, match="there already"):
        make(file)
    assert file.read_bytes() == before
    with pytest.raises(InputError, match="no such folder"):
        make(tmp_path / "away" / "b.tar")
    with pytest.raises(EOFError), new_archive(tmp_path / "c.tar") as (archive, _):
        archive.add("a", io.BytesIO(b"short"), 10)
    assert list(tmp_path.iterdir()) == [file]


def test_one_that_is_cut_anywhere_is_refused(tmp_path: Path) -> None:
    file = make(tmp_path / "b.tar")
    content = file.read_bytes()
    with tarfile.open(file) as tar:
        last = tar.getmember(MANIFEST)
    for length in [*range(0, last.offset_data, 700), last.offset_data + last.size - 1]:
        file.write_bytes(content[:length])
        refusal(file)
    file.unlink()
    assert "no such file" in refusal(file)


def test_one_whose_bytes_were_altered_is_refused_or_says_the_same(tmp_path: Path) -> None:
    file = make(tmp_path / "b.tar")
    content = file.read_bytes()
    chance = random.Random(1)
    unnoticed = 0
    for _ in range(300):
        place = chance.randrange(len(content))
        changed = bytearray(content)
        changed[place] ^= 1 << chance.randrange(8)
        file.write_bytes(changed)
        with suppress(InputError):
            verify(file)
            unnoticed += 1
            found = {member.name: stream.read() for member, stream in members(file)}
            assert {name: found[name] for name in CONTENT} == CONTENT  # it was padding
    assert unnoticed < 150


def test_members_that_were_added_taken_or_are_no_files_are_refused(tmp_path: Path) -> None:
    whole = make(tmp_path / "b.tar")
    with tarfile.open(whole) as tar:
        kept = [(each, tar.extractfile(each).read()) for each in tar]  # type: ignore[union-attr]

    def written(name: str, entries: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
        with tarfile.open(tmp_path / name, "w") as tar:
            for info, content in entries:
                tar.addfile(info, io.BytesIO(content))
        return tmp_path / name

    extra = tarfile.TarInfo("extra")
    link = tarfile.TarInfo("runs/link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    assert "extra" in refusal(written("more.tar", [(extra, b""), *kept]))
    assert "behind the manifest" in refusal(written("behind.tar", [*kept, (extra, b"")]))
    assert "is not what was written" in refusal(written("less.tar", kept[1:]))
    assert "no file" in refusal(written("link.tar", [(link, b""), *kept]))
    assert "ends before its manifest" in refusal(written("none.tar", kept[:-1]))


def test_one_of_another_format_is_named(tmp_path: Path) -> None:
    file = tmp_path / "b.tar"
    with tarfile.open(file, "w") as tar:
        ArchiveWriter(tar).finish({"format": 2})
    assert "newer EM-SAM" in refusal(file)
