"""What reads each kind of file, as far as a user's command would, or raises ``InputError``."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import islice
from pathlib import Path

READ, LARGE = "read", "large"
MOST_AT_ONCE = 16 << 20
"""Bytes of a slice or a chunk beyond which a case is only opened: memory for them is documented."""
_SLICES = 24
MOST_UNPACKED = 8 << 20


def _image(name: str) -> Callable[[Path], str]:
    def read(folder: Path) -> str:
        return read_stack(folder / name)

    return read


def read_stack(location: Path) -> str:
    """Open, read the first slices, a region of the last one, and what identifies it."""
    from emsam.data.readers import as_unsigned, open_stack

    with as_unsigned(open_stack(location)) as stack:
        plane = stack.shape[1] * stack.shape[2] * stack.dtype.itemsize
        if max(plane, math.prod(stack.chunk) * stack.dtype.itemsize) > MOST_AT_ONCE:
            return LARGE
        most = min(_SLICES, max(1, 4 * MOST_AT_ONCE // plane))
        for _ in islice(stack, most):
            pass
    with open_stack(location, whole=False) as stack:
        stack.region(
            stack.shape[0] - 1, slice(0, min(9, stack.shape[1])), slice(0, min(9, stack.shape[2]))
        )
        stack.identity()
        return READ if stack.shape[0] * plane <= 4 * MOST_AT_ONCE else LARGE


def read_sam(folder: Path) -> str:
    from emsam.model.sam_checkpoint import read_encoder

    read_encoder(folder / "sam.pth", "vit_b")
    return READ


def read_safetensors(folder: Path) -> str:
    from emsam.model.weights import get_weights

    get_weights(
        "vit_t", folder.parent / "out" / "weights", source=folder / "model.safetensors", url=""
    )
    return READ


def read_package(folder: Path) -> str:
    from emsam.model.package import load_network

    load_network(folder / "model.safetensors", folder / "params.yaml")
    return READ


def read_params(folder: Path) -> str:
    from emsam.params import load_params

    load_params(folder / "params.yaml")
    return READ


def read_run(folder: Path) -> str:
    from emsam.launch.jobs import describe_job
    from emsam.model.package import load_network
    from emsam.settings import Settings
    from emsam.train.checkpoints import read_trainer
    from emsam.train.evaluation import read_scores
    from emsam.train.run_directory import RunDirectory

    run = RunDirectory(folder / "run").require()
    run.inputs()
    describe_job(run, Settings(home=folder.parent / "out"))
    list(run.metrics())
    run.trials()
    read_scores(run)
    checkpoint = run.judged_checkpoint()
    run.model_params()
    load_network(checkpoint / "model.safetensors", checkpoint / "params.yaml")
    read_trainer(checkpoint)
    return READ


def sign_run(folder: Path) -> None:
    """Make a spoilt checkpoint whole again, as somebody would who wants it to be read."""
    import hashlib
    import json

    for checkpoint in sorted((folder / "run" / "checkpoints").glob("step-*")):
        manifest = checkpoint / "manifest.json"
        try:
            document = json.loads(manifest.read_text())
            for name, entry in document["files"].items():
                entry["sha256"] = hashlib.sha256((checkpoint / name).read_bytes()).hexdigest()
            manifest.write_text(json.dumps(document))
        except Exception:  # spoilt beyond that
            continue


def read_archive(name: str) -> Callable[[Path], str]:
    def read(folder: Path) -> str:
        from emsam.data.catalog.archives import unpack

        (archive,) = folder.glob(name)
        unpack(archive, folder.parent / "out", ["*.tif"], MOST_UNPACKED)
        return READ

    return read


def read_volume(folder: Path) -> str:
    from emsam.data.store import Volume

    volume = Volume(folder / "volume.zarr")
    if math.prod(volume.shape[1:]) > MOST_AT_ONCE:
        return LARGE
    for task in volume.tasks:
        if task == "neurites":
            volume.labels(task, 0)
    for split in volume.info.splits:
        for z in volume.slices(split, "neurites")[:4]:
            volume.image(z)
    volume.window("image", 0, 0, slice(0, 9), slice(0, 9))
    volume.stored("image", 0, 0, -1)
    return READ


def read_predictions(folder: Path) -> str:
    from dashboards.viewer.scene import Masks

    masks = Masks.open("a", folder / "demo-val.zarr", "evaluate it again")
    if math.prod(masks.predictions.shape) > MOST_AT_ONCE:
        return LARGE
    for z in masks.predictions.slices[:4]:
        masks.predictions.ids(z)
    return READ


def read_decision(folder: Path) -> str:
    from emsam.registry.decision import Decision

    Decision.from_file(folder / "decision.json")
    return READ


READERS: dict[str, Callable[[Path], str]] = {
    "tiff": _image("em.tif"), "tiff folder": _image(""), "png folder": _image(""),
    "hdf5": _image("em.h5"), "zarr v2": _image("em.zarr"), "zarr v3": _image("em.zarr"),
    "n5": _image("em.n5"), "mrc": _image("em.mrc"), "sam .pth": read_sam,
    "safetensors": read_safetensors, "model package": read_package, "params.yaml": read_params,
    "run directory": read_run, "zip": read_archive("*.zip"), "tar": read_archive("*.tar*"),
    "volume store": read_volume, "predictions": read_predictions, "decision": read_decision,
}  # fmt: skip

FOLLOW_LINKS = (
    "tiff folder", "png folder", "model package", "run directory", "volume store", "predictions",
)  # fmt: skip
"""Their files may be links: users choose slices so, and DVC links what it tracks to its cache."""
COSTS = {"sam .pth": 4}
"""How many cases of others one takes: these weights are large even where they are a constant."""
IMAGES = ("tiff", "tiff folder", "png folder", "hdf5", "zarr v2", "zarr v3", "n5", "mrc")
_FILE = {"tiff": "em.tif", "hdf5": "em.h5", "zarr v2": "em.zarr", "zarr v3": "em.zarr",
         "n5": "em.n5", "mrc": "em.mrc"}  # fmt: skip


def command(reader: str, folder: Path, outcome: str) -> list[str] | None:
    """The command with which a user would hand the case over, unless it takes long."""
    if outcome == LARGE or (reader == "sam .pth" and outcome == READ):
        return None
    if reader in IMAGES:
        image = str(folder / _FILE.get(reader, ""))
        return ["data", "ingest", "ca1", "--image", image, "--voxel-size", "30,8,8",
                "--split", "train=0-0", "--json"]  # fmt: skip
    return {
        "sam .pth": ["weights", "get", "vit_b", "--from", str(folder / "sam.pth"), "--json"],
        "params.yaml": ["train", "--data", "none", "--task", "neurites", "--run", "run",
                        "--params", str(folder / "params.yaml")],
        "run directory": ["jobs", "--json"],
    }.get(reader)  # fmt: skip
