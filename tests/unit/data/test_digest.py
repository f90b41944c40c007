from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from emsam.data.digest import file_md5, folder_digest
from emsam.data.store import Volume
from emsam.errors import InputError
from emsam.quiet import QUIET_ENVIRONMENT


@pytest.fixture
def tricky(tmp_path: Path) -> Path:
    """A folder whose names sort differently as text and as paths; it also holds other traps."""
    folder = tmp_path / "repository" / "set"
    files = {"a/b": b"1", "a-b/c": b"2", "a.b": b"\r\n", "a/é": b"", "Z": b"x" * 3_000_000}
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (folder / "empty").mkdir()
    return folder


def dvc_digest(folder: Path) -> str:
    """What DVC itself writes when ``folder`` is added in a repository around it."""
    root = folder.parent
    environment = os.environ | QUIET_ENVIRONMENT
    for command in (
        ["git", "init", "--quiet"],
        [sys.executable, "-m", "dvc", "init", "--quiet"],
        [sys.executable, "-m", "dvc", "add", "--quiet", folder.name],
    ):
        subprocess.run(command, cwd=root, env=environment, check=True, capture_output=True)
    return str(yaml.safe_load((root / f"{folder.name}.dvc").read_text())["outs"][0]["md5"])


@pytest.mark.slow
def test_equals_dvc_on_tricky_names(tricky: Path) -> None:
    assert folder_digest(tricky) == dvc_digest(tricky)


@pytest.mark.slow
def test_equals_dvc_on_a_volume(synthetic_volume: Volume, tmp_path: Path) -> None:
    copy = tmp_path / "volume.zarr"
    subprocess.run(["cp", "-r", str(synthetic_volume.path), str(copy)], check=True)
    assert folder_digest(copy) == dvc_digest(copy)


def test_changes_with_content_and_names_and_nothing_else(tricky: Path) -> None:
    before = folder_digest(tricky)
    assert before.endswith(".dir")
    os.utime(tricky / "Z", (0, 0))
    assert folder_digest(tricky) == before
    (tricky / "a.b").write_bytes(b"\n")
    changed = folder_digest(tricky)
    (tricky / "a.b").rename(tricky / "a.c")
    assert len({before, changed, folder_digest(tricky)}) == 3


def test_md5_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")  # RFC 1321, A.5
    assert file_md5(tmp_path / "f") == "900150983cd24fb0d6963f7d28e17f72"


def test_a_missing_or_empty_folder_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputError, match=str(folder)):
            folder_digest(folder)
