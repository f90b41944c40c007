"""From parameters and a volume to a run directory that a training process can take up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from emsam.data.digest import folder_digest
from emsam.data.patches import PatchSampler
from emsam.data.store import Volume
from emsam.documents import document_digest
from emsam.errors import InputError
from emsam.model.build import build_model
from emsam.model.sam_network import SamNetwork
from emsam.model.weights import find_weights, load_encoder_weights
from emsam.params import Params
from emsam.progress import Progress
from emsam.segment.channels import require_channels
from emsam.settings import Settings
from emsam.train.features import compute_features, feature_key, features_path
from emsam.train.provenance import describe_inputs
from emsam.train.run_directory import RunDirectory
from emsam.train.slots import require_shares, require_slots, slot_names


def prepare_run(
    params: Params, settings: Settings, folder: Path | None = None, *, version: str | None = None
) -> RunDirectory:
    """Check the job and write its run directory.

    Parameters
    ----------
    params
        ``params.data.name`` names the volume.
    folder
        The run directory; ``None`` takes one whose name follows from parameters and data, so
        that the same job always finds the same folder.
    version
        Digest that the volume was published with; ``None`` takes whatever is there.

    Raises
    ------
    InputError
        What would stop the training, found before anything is written: no such volume, no labels
        of the task, patches larger than slices, widths that do not fit, a GPU that is not here,
        a volume that changed since it was published, a batch that the devices cannot share, or a
        folder that holds another run.
    """
    volume = Volume(settings.volume_path(params.data.name))
    check_trainable(volume, params)
    require_shares(params.train.batch_size, settings.devices)
    if settings.launcher == "process":
        require_slots(slot_names(params.train, settings.cpu_slots), settings.devices)
    digest = folder_digest(volume.path)
    if version not in (None, digest):
        raise InputError(
            f"{volume.path}: changed since it was published as {version}, is {digest} now; restore "
            f"it, or publish it with 'emsam data publish {params.data.name}'"
        )
    run = RunDirectory(folder or settings.runs_root / default_run_name(params, digest))
    run.prepare(params, describe_inputs(volume, digest) | _pretrained(params, digest, settings))
    return run


def _pretrained(params: Params, digest: str, settings: Settings) -> dict[str, Any]:
    """The encoder's first weights and its cached features, where the job wants them."""
    if not params.model.weights:
        return {}
    weights = find_weights(params.model.weights, params.model.encoder, settings.weights_root)
    found: dict[str, Any] = {
        "weights": {
            "encoder": weights.encoder,
            "source": weights.source,
            "sha256": weights.sha256,
            "path": str(weights.path.absolute()),
            "path_sha256": weights.path_sha256,
        }
    }
    if params.train.cached_features:
        path = features_path(settings.features_root, feature_key(params, weights.sha256, digest))
        if not path.exists():
            raise InputError(
                f"{path}: no cached features for this job; compute them with 'emsam features' and "
                "the same parameters"
            )
        found["features"] = {"path": str(path.absolute())}
    return found


def prepare_features(
    params: Params, settings: Settings, progress: Progress | None = None
) -> dict[str, Any]:
    """Compute the cached features that a job with ``train.cached_features`` reads.

    Returns
    -------
    dict
        ``path``, ``bytes``, and the ``key`` of what they depend on.

    Raises
    ------
    InputError
        A job without cached features, or whose weights or volume are not here.
    """
    from lightning_fabric import Fabric  # takes seconds, and a job that is prepared needs none

    if not params.train.cached_features:
        raise InputError(
            "train.cached_features = False: only a job that reads features needs them; set it to "
            "true, with train.mode=decoder and train.patches=grid"
        )
    volume = Volume(settings.volume_path(params.data.name))
    check_trainable(volume, params)
    weights = find_weights(str(params.model.weights), params.model.encoder, settings.weights_root)
    key = feature_key(params, weights.sha256, folder_digest(volume.path))
    path = features_path(settings.features_root, key)
    budget = params.train
    fabric = Fabric(accelerator=budget.accelerator, devices=1, precision=budget.precision)
    with fabric.init_module():
        model = build_model(params)
    assert isinstance(model, SamNetwork)  # params allow no other
    load_encoder_weights(model.encoder.vit, weights.path, weights.path_sha256)

    def encode(images: Tensor) -> list[Tensor]:
        with fabric.autocast():
            return model.encode(fabric.to_device(images))

    sampler = PatchSampler.of_job(volume, params)
    size = compute_features(path, key, encode, sampler, progress)
    return {"path": str(path), "bytes": size, "key": key}


def default_run_name(params: Params, digest: str) -> str:
    """``<data>-<task>-<model>-<key>``; the key changes with what the weights depend on."""
    key = document_digest([params.training_part(), digest])[:8]
    return f"{params.data.name}-{params.task}-{params.model.name}-{key}"


def check_trainable(volume: Volume, params: Params) -> None:
    """Find what would stop a training before a process is started for it.

    Raises
    ------
    InputError
        See :func:`prepare_run`.
    """
    budget = params.train
    require_channels(params)
    PatchSampler.of_job(volume, params)
    with torch.device("meta"):
        build_model(params)
    if budget.accelerator == "cuda" and not torch.cuda.is_available():
        raise InputError("train.accelerator = 'cuda': no GPU can be seen here; set it to auto")
    if budget.precision == "16-mixed" and not torch.cuda.is_available():
        raise InputError(
            "train.precision = '16-mixed': no GPU can be seen here; set it to bf16-mixed"
        )
