"""What a registered version learned from, and whether it may be judged on these slices."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from emsam.data.checks.copies import Prints, copies_between
from emsam.data.checks.volume import coarse_fingerprints
from emsam.data.splits import ZRange
from emsam.data.store import Volume
from emsam.errors import InputError
from emsam.registry.clean_process import Judged
from emsam.registry.names import version_name
from emsam.settings import Settings

TAG = "emsam.training_data"


@dataclass(frozen=True)
class Learned:
    """A volume that a model learned from.

    Attributes
    ----------
    splits
        z-ranges that its weights (train) and its thresholds (val) come from.
    """

    name: str
    digest: str
    splits: dict[str, ZRange]


def training_tag(inputs: dict[str, Any]) -> str:
    """What ``inputs.json`` says of data, for the tag of a version.

    Raises
    ------
    InputError
        It does not say which slices were trained on.
    """
    known = [
        {"name": each["name"], "digest": each["digest"], "splits": each.get("splits", {})}
        for each in inputs["data"]
    ]
    if not known or any("train" not in each["splits"] for each in known):
        raise InputError(
            "inputs.json does not say on which slices this run was trained, so that nobody could "
            "judge its model fairly; train it again"
        )
    return json.dumps(known)


def learned_by(found: ModelVersion, client: MlflowClient) -> list[Learned]:
    """Volumes that a version learned from: its tag, else what MLflow knows of its run.

    Raises
    ------
    InputError
        Neither says it.
    """
    try:
        if TAG in found.tags:
            known = json.loads(found.tags[TAG])
        else:
            known = _of_run(client, str(found.run_id))
        learned = [
            Learned(each["name"], each["digest"],
                    {name: (int(a), int(b)) for name, (a, b) in each["splits"].items()})
            for each in known
        ]  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError):
        learned = []
    if not learned or any("train" not in each.splits for each in learned):
        raise InputError(
            f"{version_name(found)}: nothing says on which slices it was trained, so that "
            "it cannot be judged fairly; register its run again with 'emsam registry register'"
        )
    return learned


def _of_run(client: MlflowClient, run_id: str) -> list[dict[str, Any]]:
    """Versions registered before there was a tag."""
    inputs = client.get_run(run_id).inputs
    found = [each.dataset for each in inputs.dataset_inputs] if inputs else []
    return [
        {
            "name": each.name,
            "digest": each.digest,
            "splits": json.loads(each.profile or "")["splits"],
        }
        for each in found
    ]


def refuse_overlap(
    who: str, learned: Sequence[Learned], judged: Sequence[Judged], settings: Settings
) -> list[str]:
    """Stop if a model would be judged on what it learned from.

    That is the same slice of the same volume, by its name or by its data set version, or a copy
    of it in another volume, mirrored and turned too (as ``emsam data check`` finds them). Test
    slices must be none of its validation slices either, which chose checkpoints and thresholds.

    Returns
    -------
    list of str
        What could not be searched for copies, for the reader of the decision.

    Raises
    ------
    InputError
        Which slices are both.
    """
    notes = []
    for each in judged:
        ranges = ("train",) if each.split == "val" else ("train", "val")
        for volume in learned:
            used = {name: volume.splits[name] for name in ranges if name in volume.splits}
            if volume.name == each.name or volume.digest == each.digest:
                _refuse_same(who, volume, used, each)
                continue
            store = settings.volume_path(volume.name)
            if store.exists():
                _refuse_copies(who, Volume(store), used, each)
            else:
                notes.append(
                    f"{volume.name}, which {who} learned from, is not here and was not searched "
                    f"for copies of slices of {each.name}"
                )
    return notes


def _refuse_same(who: str, volume: Learned, used: dict[str, ZRange], judged: Judged) -> None:
    for name, (first, last) in used.items():
        both = [z for z in judged.slices if first <= z <= last]
        if both:
            raise InputError(
                f"{judged.name}: {who} has {name} slices {first}-{last} of it, of which "
                f"{both[0]}-{both[-1]} are {judged.split} slices now; judge on others"
            )


def _refuse_copies(who: str, volume: Volume, used: dict[str, ZRange], judged: Judged) -> None:
    theirs = coarse_fingerprints(volume)
    span = {"test": (min(judged.slices), max(judged.slices))}
    mine = Prints(judged.name, coarse_fingerprints(judged.volume), span)
    for name, z_range in used.items():
        other = Prints(volume.info.name, theirs, {"train": z_range})
        for finding in copies_between(mine, other):
            pair = finding.pairs[0]
            raise InputError(
                f"{judged.name}: its {judged.split} slice {pair.first} shows the section of "
                f"{name} slice {pair.second} of {volume.info.name}, which {who} learned from; "
                "judge on others"
            )
