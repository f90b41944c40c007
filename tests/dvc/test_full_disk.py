"""A disk that is full while a volume is made or published: one line, nothing left behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from emsam.data.digest import folder_digest
from emsam.data.ingest import Source, ingest_volume
from emsam.data.synthetic import synthesize_volume
from emsam.errors import DiskFull
from tests.conftest import Laboratory
from tests.dvc.small_disk import enlarge, small_disk, used

pytestmark = pytest.mark.slow


def refusal(lab: Laboratory, *arguments: str) -> str:
    """The line with which a command fails, status 1."""
    done = lab.run(*arguments, status=1)
    assert "Traceback" not in done.stderr
    (line,) = [each for each in done.stderr.splitlines() if each.startswith("emsam: ")]
    assert "no space left on" in line
    assert "MB" in line
    assert line.endswith("then run the same command again")
    return line


def noise(folder: Path, depth: int = 70) -> str:
    """A stack of 5 MB that does not compress."""
    path = folder / "em.tif"
    values = np.random.default_rng(0).integers(0, 256, (depth, 270, 270), np.uint8)
    tifffile.imwrite(path, values, photometric="minisblack")
    return str(path)


@pytest.mark.parametrize("megabytes", [0.0, 0.05, 1.5, 4.5])
@pytest.mark.parametrize("kind", ["ingested", "synthetic"])
def test_a_volume_that_does_not_fit_leaves_nothing(
    kind: str, megabytes: float, tmp_path: Path
) -> None:
    def make(store: Path) -> None:
        if kind == "ingested":
            ingest_volume("big", Source(noise(tmp_path), {}, (30.0, 8.0, 8.0)), store)
        else:
            synthesize_volume("big", store, shape=(40, 330, 330))

    with small_disk(tmp_path / "data", megabytes or 0.1) as data:
        if not megabytes:
            (data / "other.bin").write_bytes(bytes(100 << 10))
        before, there = used(data), list(data.iterdir())
        with pytest.raises(DiskFull, match=f"{data}/big: no space left on its disk .* free some"):
            make(data / "big" / "volume.zarr")
        assert list(data.iterdir()) == there
        assert used(data) == before
        enlarge(data, 60)
        make(data / "big" / "volume.zarr")
        assert [each.name for each in (data / "big").iterdir()] == ["volume.zarr"]
        make(tmp_path / "other" / "volume.zarr")
        digests = {
            folder_digest(each / "volume.zarr") for each in (data / "big", tmp_path / "other")
        }
        assert len(digests) == 1


def test_the_command_says_it_in_one_line(lab: Laboratory) -> None:
    arguments = ["data", "ingest", "big", "--image", noise(lab.path), "--voxel-size", "30,8,8"]
    with small_disk(lab.path / "data", 1.5):
        line = refusal(lab, *arguments)
    assert line.startswith("emsam: data/big: ")
    assert "set EMSAM_DATA_ROOT to a folder on another disk" in line


@pytest.mark.parametrize(
    ("where", "megabytes"), [("cache", 0.1), ("cache", 3.0), ("remote", 0.1), ("remote", 3.0)]
)
def test_a_version_that_does_not_fit_has_no_name(
    where: str, megabytes: float, lab: Laboratory
) -> None:
    lab.run("data", "ingest", "big", "--image", noise(lab.path), "--voxel-size", "30,8,8")
    digest = folder_digest(lab.path / "data/big/volume.zarr")
    (lab.path / ".dvc").mkdir()
    (lab.path / ".dvc/config").write_text("")
    places = {"cache": lab.path / ".dvc/cache", "remote": lab.path / ".emsam/dvc-remote"}
    with small_disk(places[where], megabytes):
        line = refusal(lab, "data", "publish", "big")
        assert f"{places[where]} has " in line
        assert lab.git("tag", "--list") == ""
        assert lab.git("worktree", "list").count("\n") == 0
        assert not (lab.path / ".git/emsam-publish").exists()
        assert folder_digest(lab.path / "data/big/volume.zarr") == digest
        enlarge(places[where], 60)
        assert lab.json("data", "publish", "big")["digest"] == digest
        assert [each["tag"] for each in lab.json("data", "log", "big")] == ["data/big/v1"]
