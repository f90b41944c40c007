"""Scores a registered version in a process that knows nothing but its job."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emsam.data.predictions import Predictions
from emsam.data.store import Volume
from emsam.documents import last_line
from emsam.errors import InputError
from emsam.progress import Progress
from emsam.quiet import QUIET_ENVIRONMENT

_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES")
_POLL = 0.2
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Judged:
    """Slices on which models are compared.

    Attributes
    ----------
    digest
        Data set version of the volume.
    """

    volume: Volume
    digest: str
    split: str
    slices: tuple[int, ...]

    @property
    def name(self) -> str:
        return self.volume.info.name


@dataclass(frozen=True)
class Scored:
    """What the process found.

    Attributes
    ----------
    scores
        For each volume the scores by z and metric variant.
    objects
        Predicted objects on all slices.
    device
        That computed.
    """

    scores: tuple[dict[int, dict[str, float]], ...]
    objects: int
    device: str
    folder: Path

    def prediction(self, volume: int, z: int) -> np.ndarray:
        """Predicted ids (y, x) of slice ``z`` of the volume at this place."""
        return Predictions(self.predictions(volume)).ids(z)

    def predictions(self, volume: int) -> Path:
        """Store of what was predicted on the volume at this place."""
        return self.folder / "predictions" / f"{volume}.zarr"


def score_package(
    who: str,
    package: tuple[Path, Path],
    weights_sha256: str,
    judged: Sequence[Judged],
    seed: int,
    folder: Path,
    progress: Progress | None = None,
) -> Scored:
    """Run ``python -m emsam.train.judge`` on a package, with an environment of its own.

    Parameters
    ----------
    who
        ``NAME/VERSION``, for messages.
    package
        Weights and ``params.yaml``.
    folder
        For the job, its log and its result; must be empty.
    progress
        Told how many slices are done.

    Raises
    ------
    InputError
        The process found bad input or died, or did not see what it was asked to judge.
    """
    job = {
        "weights": str(package[0].absolute()),
        "params": str(package[1].absolute()),
        "weights_sha256": weights_sha256,
        "seed": seed,
        "threads": thread_count(),
        "volumes": [
            {"path": str(each.volume.path.absolute()), "digest": each.digest,
             "slices": list(each.slices)}
            for each in judged
        ],
    }  # fmt: skip
    folder.mkdir(parents=True)
    (folder / "job.json").write_text(json.dumps(job))
    slices = sum(len(each.slices) for each in judged)
    status = _run(folder, slices, progress)
    if status:
        raise InputError(f"{who} cannot be judged: {_last_words(folder / 'log', status)}")
    return _read(who, job, folder)


def thread_count() -> int:
    """Threads that each evaluation uses: what OMP_NUM_THREADS says, else one a core."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    return int(said) if said.isdecimal() and int(said) else len(os.sched_getaffinity(0))


def _run(folder: Path, slices: int, progress: Progress | None) -> int:
    """Exit status; the process is ended where its caller is interrupted."""
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "emsam.train.judge", "job.json", "out"],
            cwd=folder, env=_environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
        try:
            while (status := process.poll()) is None:
                if progress:
                    progress(int(last_line(folder / "out" / "progress") or 0), slices)
                time.sleep(_POLL)
            return status
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def _environment() -> dict[str, str]:
    """What a process needs to start; nothing of it changes a score."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    fixed = {
        "PYTHONPATH": str(_ROOT),  # the same code for both, wherever it was started from
        "PYTHONHASHSEED": "0",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # else sums on a GPU come in any order
        "OMP_NUM_THREADS": str(thread_count()),
    }
    return kept | QUIET_ENVIRONMENT | fixed


def _last_words(log: Path, status: int) -> str:
    end = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
    return last_line(log) or f"its evaluation ended with {end} and said nothing"


def _read(who: str, job: dict[str, Any], folder: Path) -> Scored:
    result = json.loads((folder / "out" / "result.json").read_text())
    wanted = [(each["digest"], each["slices"]) for each in job["volumes"]]
    found = [(v["digest"], [row["z"] for row in v["rows"]]) for v in result["volumes"]]
    if found != wanted or result["weights_sha256"] != job["weights_sha256"]:
        raise InputError(
            f"{who}: the evaluation saw other weights, data or slices than it was asked to judge; "
            "nobody may write to them while the gate works, decide again"
        )
    scores = tuple(
        {row["z"]: {name: float(value) for name, value in row["scores"].items()}
         for row in volume["rows"]}
        for volume in result["volumes"]
    )  # fmt: skip
    objects = sum(row["objects"] for volume in result["volumes"] for row in volume["rows"])
    return Scored(scores, objects, result["device"], folder / "out")
