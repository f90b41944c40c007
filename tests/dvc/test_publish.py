"""Data set versions, with real git and real DVC."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr

from emsam.data.digest import folder_digest
from tests.conftest import Laboratory, make_laboratory

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Laboratory:
    lab = make_laboratory(tmp_path_factory.mktemp("published"))
    lab.run("data", "synthetic", "tiny", "--shape", "8,64,64")
    lab.run("data", "publish", "tiny")
    return lab


def test_a_version_is_the_digest_of_its_bytes(published: Laboratory) -> None:
    (version,) = published.json("data", "log", "tiny")
    assert version["tag"] == "data/tiny/v1"
    assert version["digest"] == folder_digest(published.path / "data/tiny/volume.zarr")
    assert version["author"] == "Ada"


def test_publishing_again_adds_nothing(published: Laboratory) -> None:
    again = published.json("data", "publish", "tiny")
    assert again["tag"] == "data/tiny/v1"
    assert published.git("tag", "--list") == "data/tiny/v1"


def test_anybody_with_the_repository_and_the_remote_can_fetch_it(
    published: Laboratory, tmp_path: Path
) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(published.path), str(clone)], check=True)
    subprocess.run(
        [sys.executable, "-m", "dvc", "get", "--quiet", str(clone), "data/tiny/volume.zarr",
         "--rev", "data/tiny/v1", "--out", str(tmp_path / "fetched.zarr")],
        check=True, env=published.environment,
    )  # fmt: skip
    (version,) = published.json("data", "log", "tiny")
    assert folder_digest(tmp_path / "fetched.zarr") == version["digest"]


def test_a_changed_volume_is_the_next_version(published: Laboratory) -> None:
    published.run("data", "synthetic", "other", "--shape", "8,64,64")
    published.run("data", "publish", "other")
    shutil.rmtree(published.path / "data" / "other")
    published.run("data", "synthetic", "other", "--shape", "8,64,64", "--seed", "1")
    second = published.json("data", "publish", "other")
    assert second["tag"] == "data/other/v2"
    assert [v["tag"] for v in published.json("data", "log", "other")] == [
        "data/other/v1", "data/other/v2"
    ]  # fmt: skip


def test_log_and_diff_say_what_changed(published: Laboratory) -> None:
    published.run("data", "synthetic", "grown", "--shape", "8,64,64")
    published.run("data", "publish", "grown")
    store = zarr.open_group(published.path / "data/grown/volume.zarr", mode="r+")
    ids = np.asarray(store["labels/neurites/0"])
    ids[5][ids[5] == ids[5].max()] = 0
    store["labels/neurites/0"][:] = ids
    second = published.json("data", "publish", "grown")
    assert second["tag"] == "data/grown/v2"

    changes = published.json("data", "diff", "grown", "v1", "data/grown/v2")
    assert changes.keys() == {"labels"}
    assert changes["labels"].keys() == {"neurites"}
    assert changes["labels"]["neurites"]["slices"] == [5]
    was, now = changes["labels"]["neurites"]["objects"]
    assert now == was - 1
    said = f"neurites in 1 slice, {now} objects (was {was})"
    assert [v["changes"] for v in published.json("data", "log", "grown")] == ["", said]
    assert published.run("data", "diff", "grown", "v1", "v2").stdout == (
        f"grown v1 to v2: {said}\n  neurites: slices 5\n"
    )
    assert published.json("data", "diff", "grown", "v2", "v2") == {}
    refused = published.run("data", "diff", "grown", "v1", "v3", status=2)
    assert refused.stderr == "emsam: v3: no version of grown; published are v1, v2\n"


def test_the_checkout_is_left_alone(published: Laboratory) -> None:
    assert published.git("status", "--porcelain") == ""
    assert published.git("rev-list", "--count", "main") == "1"
    assert published.git("worktree", "list").count("\n") == 0


def test_a_remote_that_cannot_be_written_names_no_version(lab: Laboratory) -> None:
    lab.run("data", "synthetic", "tiny", "--shape", "8,64,64")
    (lab.path / ".emsam").mkdir()
    (lab.path / ".emsam" / "dvc-remote").write_text("a file where the folder should be")
    failed = lab.run("data", "publish", "tiny", status=1)
    remote = lab.path / ".emsam" / "dvc-remote"
    assert failed.stderr.splitlines()[-1].startswith(f"emsam: {remote}: dvc push")
    assert lab.git("tag", "--list") == ""
    (lab.path / ".emsam" / "dvc-remote").unlink()
    assert lab.json("data", "publish", "tiny")["tag"] == "data/tiny/v1"


def test_a_folder_outside_git_is_one_clear_line(tmp_path: Path) -> None:
    lab = Laboratory(tmp_path)
    lab.run("data", "synthetic", "tiny", "--shape", "8,64,64")
    refused = lab.run("data", "publish", "tiny", status=2)
    assert "not inside a git repository" in refused.stderr
    assert refused.stderr.count("\n") == 1
