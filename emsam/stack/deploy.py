"""Work pools and deployments, as ``prefect.yaml`` and ``pools/`` have them."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from emsam.errors import InputError, StackFailed
from emsam.settings import Settings
from emsam.stack.plan import POOLS, prefect_environment
from emsam.stack.prefect_api import PrefectApi


def create_pools(api: PrefectApi) -> None:
    """The work pools, of processes unless somebody made them something else."""
    template = json.loads((shipped("pools") / "process.json").read_text())
    for name in POOLS:
        api.ensure_pool(name, template)


def create_deployments(api: PrefectApi, settings: Settings, known: str) -> str:
    """``prefect deploy --all``, unless that was done with the same files.

    Parameters
    ----------
    known
        What the last call returned.

    Returns
    -------
    str
        sha256 of all that decides what a deployment says.

    Raises
    ------
    StackFailed
        Prefect refused; the message quotes it.
    """
    file = shipped("prefect.yaml")
    digest = _digest(file)
    if digest == known and declared(file) <= api.deployments():
        return digest
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    done = subprocess.run(
        [*command, "--prefect-file", str(file)],
        env=os.environ | prefect_environment(settings, api.url),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    missing = declared(file) - api.deployments()
    if done.returncode or missing:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise StackFailed(
            f"{file}: not deployed ({', '.join(sorted(missing)) or lines[-1:]}); run 'prefect "
            f"deploy --all' with PREFECT_API_URL={api.url} to see why"
        )
    return digest


def declared(file: Path) -> set[str]:
    """``FLOW/NAME`` of each deployment in a ``prefect.yaml``."""
    document: dict[str, Any] = yaml.safe_load(file.read_text())
    found = set()
    for entry in document["deployments"]:
        flow = entry["entrypoint"].rpartition(".")[2].replace("_", "-")
        found.add(f"{flow}/{entry['name']}")
    return found


def shipped(name: str) -> Path:
    """A file or folder at the top of the checkout from which EM-SAM runs.

    Raises
    ------
    InputError
        An installation without a checkout.
    """
    package = importlib.util.find_spec("flows")
    assert package is not None
    assert package.origin is not None
    path = Path(package.origin).parents[1] / name
    if not path.exists():
        raise InputError(f"{path}: not there; install EM-SAM from a clone with 'pip install -e .'")
    return path


def _digest(file: Path) -> str:
    """Of the file and of the code from which Prefect makes the forms of its UI."""
    params = importlib.util.find_spec("emsam.params")
    assert params is not None
    assert params.origin is not None
    code = [*shipped("flows").glob("*.py"), *Path(params.origin).parent.glob("*.py")]
    digest = hashlib.sha256(file.read_bytes())
    for path in sorted(code):
        digest.update(path.read_bytes())
    return digest.hexdigest()
