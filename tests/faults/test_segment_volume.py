"""kill -9 of a segmentation and of its workers, a full disk: the result is the undisturbed one."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest
import tifffile
from scipy.ndimage import gaussian_filter

from emsam.processes import is_alive
from tests.dvc.small_disk import enlarge, small_disk
from tests.stacks import ids_of
from tests.waiting import wait_for

pytestmark = pytest.mark.slow
WINDOWS = 4 * 6
"""Of four slices."""


@dataclass
class Segmentation:
    """One that is run in a process of its own."""

    folder: Path
    image: Path

    def start(self, out: Path, pause: float = 0.0, **options: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.faults.segmenting", str(self.image), str(out),
             json.dumps(options)],
            env=self.environment(pause), cwd=Path(__file__).parents[2], text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def environment(self, pause: float) -> dict[str, str]:
        found = str(Path(__file__).parents[2])
        path = os.pathsep.join(filter(None, [found, os.environ.get("PYTHONPATH", "")]))
        return os.environ | {
            "SEGMENT_LOG": str(self.log), "SEGMENT_PAUSE": str(pause), "PYTHONPATH": path,
            "OMP_NUM_THREADS": "1",
        }  # fmt: skip

    def run(self, out: Path, **options: object) -> np.ndarray:
        process = self.start(out, **options)
        _, complaint = process.communicate(timeout=300)
        assert process.returncode == 0, complaint
        return ids_of(out)

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def written(self) -> list[str]:
        """Windows, each time one was written."""
        return [window for _, what, window in self._noted() if what == "written"]

    def begun(self) -> set[str]:
        """Windows whose writing began; one may be killed before it notes that it ended."""
        return {window for _, what, window in self._noted() if what == "begun"}

    def on_disk(self) -> set[str]:
        """Windows whose file is there; one may be killed before it is in the log."""
        files = self.folder.glob(".*/**/windows/*/[0-9]*.npz")
        return {f"{path.parent.name}/{path.stem}" for path in files}

    def workers(self) -> set[int]:
        """Processes that have written a window."""
        return {int(pid) for pid, what, _ in self._noted() if what == "written"}

    def _noted(self) -> list[list[str]]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line.split() for line in lines]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("image") / "em.tif"
    smooth = gaussian_filter(np.random.default_rng(1).normal(size=(4, 120, 190)), (0.7, 3, 3))
    grey = (smooth - smooth.min()) / np.ptp(smooth) * 255
    tifffile.imwrite(path, grey.astype(np.uint8), photometric="minisblack")
    return path


@pytest.fixture
def segmentation(tmp_path: Path, image: Path) -> Segmentation:
    return Segmentation(tmp_path, image)


@pytest.fixture(scope="module")
def undisturbed(image: Path, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    folder = tmp_path_factory.mktemp("undisturbed")
    ids = Segmentation(folder, image).run(folder / "ids.zarr")
    assert ids.max() > 20
    return ids


@pytest.mark.parametrize("windows", [1, 13])
def test_a_killed_segmentation_goes_on_and_does_nothing_twice(
    segmentation: Segmentation, undisturbed: np.ndarray, windows: int
) -> None:
    out = segmentation.folder / "ids.zarr"
    process = segmentation.start(out, pause=0.1)
    wait_for(lambda: len(segmentation.written()) >= windows, "windows")
    process.kill()
    process.communicate()
    assert not out.exists()
    before = segmentation.on_disk()
    assert before >= set(segmentation.written())
    segmentation.log.unlink()
    np.testing.assert_array_equal(segmentation.run(out, workers=1), undisturbed)
    assert set(segmentation.written()) & before == set()
    assert len(segmentation.written()) == WINDOWS - len(before)
    assert not list(segmentation.folder.glob(".*"))


def test_a_killed_worker_is_replaced(segmentation: Segmentation, undisturbed: np.ndarray) -> None:
    out = segmentation.folder / "ids.zarr"
    process = segmentation.start(out, pause=0.15, processes=True)
    wait_for(lambda: len(segmentation.written()) >= 3, "windows")
    psutil.Process(segmentation.workers().pop()).kill()
    _, complaint = process.communicate(timeout=300)
    assert process.returncode == 0, complaint
    np.testing.assert_array_equal(ids_of(out), undisturbed)
    assert sorted(set(segmentation.written())) == sorted(segmentation.written())


def test_workers_end_with_the_one_that_started_them(segmentation: Segmentation) -> None:
    process = segmentation.start(segmentation.folder / "ids.zarr", pause=0.5, processes=True)
    wait_for(lambda: len(segmentation.written()) >= 2, "windows")
    workers = [psutil.Process(pid) for pid in segmentation.workers()]
    process.kill()
    process.communicate()
    wait_for(lambda: not any(map(is_alive, workers)), "the workers' end")


def test_a_full_disk_loses_nothing(segmentation: Segmentation, undisturbed: np.ndarray) -> None:
    with small_disk(segmentation.folder / "disk", 0.1) as disk:
        process = segmentation.start(disk / "ids.zarr")
        _, complaint = process.communicate(timeout=300)
        assert re.search(r"DiskFull: .*ids\.zarr: no space left.*to go on", complaint), complaint
        before = set(segmentation.written())
        enlarge(disk, 50)
        np.testing.assert_array_equal(segmentation.run(disk / "ids.zarr"), undisturbed)
        assert len(segmentation.written()) == WINDOWS
        assert before


def test_a_scheduler_that_is_nowhere_is_named(segmentation: Segmentation) -> None:
    pytest.importorskip("dask.distributed")
    process = segmentation.start(segmentation.folder / "ids.zarr", dask="tcp://127.0.0.1:1")
    _, complaint = process.communicate(timeout=300)
    assert "InputError: --dask tcp://127.0.0.1:1: no scheduler answers" in complaint
    assert list(segmentation.folder.iterdir()) == []


def address_in(file: Path) -> str:
    """What the scheduler writes into its file; empty before it has."""
    with suppress(FileNotFoundError, json.JSONDecodeError):
        return str(json.loads(file.read_text())["address"])
    return ""


@contextmanager
def cluster(segmentation: Segmentation, workers: int) -> Iterator[tuple[str, list[psutil.Process]]]:
    """A scheduler and worker processes, as they run on the machines of a cluster."""
    file = segmentation.folder / "scheduler.json"
    environment = segmentation.environment(0.15)
    preload = "tests.faults.segmenting"
    commands = [["scheduler", "--port", "0", "--host", "127.0.0.1", "--no-dashboard"]]
    commands += [["worker", "--nthreads", "1", "--no-nanny", "--no-dashboard", "--preload", preload]
                 for _ in range(workers)]  # fmt: skip
    started: list[psutil.Popen] = []
    try:
        for kind, *options in commands:
            command = [sys.executable, "-m", "dask", kind, "--scheduler-file", str(file), *options]
            with (segmentation.folder / "dask.log").open("ab") as log:
                process = psutil.Popen(command, env=environment, stdout=log, stderr=log)
            started.append(process)
            address = wait_for(lambda: address_in(file), "the scheduler")
        yield address, started[1:]
    finally:
        for each in reversed(started):
            each.kill()
            each.wait()


def test_a_cluster_gives_the_same_though_a_worker_is_killed(
    segmentation: Segmentation, undisturbed: np.ndarray
) -> None:
    pytest.importorskip("dask.distributed")
    out = segmentation.folder / "ids.zarr"
    with cluster(segmentation, 2) as (address, workers):
        process = segmentation.start(out, dask=address)
        wait_for(
            lambda: process.poll() is not None or len(segmentation.workers()) == 2,
            "windows of both workers",
        )
        workers[0].kill()
        _, complaint = process.communicate(timeout=300)
        assert process.returncode == 0, complaint
    np.testing.assert_array_equal(ids_of(out), undisturbed)
    # the window that the worker was killed in may have been finished by another
    assert len(segmentation.begun()) == WINDOWS
