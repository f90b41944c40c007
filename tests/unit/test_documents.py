"""Files that are whole, whatever happens to their writers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from emsam.documents import write_whole
from tests.dvc.small_disk import small_disk

KILLED = """
import os, pathlib, signal, sys
from emsam.documents import write_whole
pathlib.Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
write_whole(pathlib.Path(sys.argv[1]), "half")
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_a_killed_writer_left_goes_with_the_next_one(tmp_path: Path) -> None:
    file = tmp_path / "status[1].json"
    write_whole(file, "old")
    done = subprocess.run([sys.executable, "-c", KILLED, str(file)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(names(tmp_path)) == 2
    assert file.read_text() == "old"
    living = tmp_path / names(tmp_path)[0].replace(".part", "")
    living = living.with_name(living.name.rpartition(".")[0] + f".{os.getppid()}.part")
    living.write_text("another writes this now")
    write_whole(file, "new")
    assert names(tmp_path) == sorted([file.name, living.name])
    assert file.read_text() == "new"


def test_a_full_disk_leaves_the_old_text_and_nothing_else(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 0.25) as disk:
        file = disk / "status.json"
        write_whole(file, "old", mode=0o600)
        with pytest.raises(OSError, match="No space"):
            write_whole(file, "new" * 200_000, mode=0o600)
        assert names(disk) == ["status.json"]
        assert file.read_text() == "old"
        assert file.stat().st_mode & 0o777 == 0o600
