"""From parameters and a volume to a run directory that a training process can take up."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch

from emsam.data.digest import folder_digest
from emsam.data.patches import PatchSampler
from emsam.data.store import Volume
from emsam.errors import InputError
from emsam.model.build import build_model
from emsam.params import Params
from emsam.settings import Settings
from emsam.train.provenance import describe_inputs
from emsam.train.run_directory import RunDirectory


def prepare_run(params: Params, settings: Settings, folder: Path | None = None) -> RunDirectory:
    """Check the job and write its run directory.

    Parameters
    ----------
    params
        ``params.data.name`` names the volume.
    folder
        The run directory; ``None`` takes one whose name follows from parameters and data, so
        that the same job always finds the same folder.

    Raises
    ------
    InputError
        What would stop the training, found before anything is written: no such volume, no labels
        of the task, patches larger than slices, widths that do not fit, a GPU that is not here,
        or a folder that holds another run.
    """
    volume = Volume(settings.volume_path(params.data.name))
    check_trainable(volume, params)
    digest = folder_digest(volume.path)
    run = RunDirectory(folder or settings.runs_root / default_run_name(params, digest))
    run.prepare(params, describe_inputs(volume, digest))
    return run


def default_run_name(params: Params, digest: str) -> str:
    """``<data>-<task>-<model>-<key>``; the key changes with what the weights depend on."""
    text = json.dumps([params.training_part(), digest], sort_keys=True)
    key = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{params.data.name}-{params.task}-{params.model.name}-{key}"


def check_trainable(volume: Volume, params: Params) -> None:
    """Find what would stop a training before a process is started for it.

    Raises
    ------
    InputError
        See :func:`prepare_run`.
    """
    budget = params.train
    PatchSampler(volume, params.task, size=budget.patch, seed=params.seed, augment=params.augment)
    with torch.device("meta"):
        build_model(params)
    if budget.accelerator == "cuda" and not torch.cuda.is_available():
        raise InputError("train.accelerator = 'cuda': no GPU can be seen here; set it to auto")
