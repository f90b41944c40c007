"""What a run was made from and where it ran: ``inputs.json``."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from emsam.data.store import Volume

PACKAGES = (
    "emsam", "torch", "torchvision", "segment-anything", "lightning-fabric", "numpy", "scipy",
    "scikit-image", "bioimage-cpp", "zarr", "safetensors", "prefect", "mlflow", "dvc",
)  # fmt: skip


def describe_inputs(volume: Volume, digest: str) -> dict[str, Any]:
    """Everything beside the parameters that a result depends on.

    Parameters
    ----------
    volume
        The training volume.
    digest
        Its data set version, ``"<md5>.dir"``.
    """
    return {
        "data": [
            {
                "name": volume.info.name,
                "path": str(volume.path.absolute()),
                "digest": digest,
                "shape": list(volume.shape),
                "splits": {name: list(span) for name, span in volume.info.splits.items()},
            }
        ],
        "git": describe_git(Path.cwd()),
        "packages": package_versions(),
        "hardware": _hardware(),
        "command": sys.argv,
    }


def describe_git(folder: Path) -> dict[str, Any]:
    """Commit of the checkout around ``folder`` and whether files differ from it."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True
            )
        except (OSError, subprocess.CalledProcessError):
            return None
        return done.stdout.strip()

    return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}


def package_versions() -> dict[str, str]:
    """Versions of Python and of what a result depends on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _hardware() -> dict[str, Any]:
    import torch  # versions and git are told without it

    gpus = [
        {
            "name": torch.cuda.get_device_name(index),
            "memory_bytes": torch.cuda.get_device_properties(index).total_memory,
        }
        for index in range(torch.cuda.device_count())
    ]
    return {
        "system": platform.platform(),
        "processor": _processor_name(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": psutil.virtual_memory().total,
        "gpus": gpus,
    }


def _processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
