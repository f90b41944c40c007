"""What a volume holds, slice by slice, in a document small enough for git."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from emsam.data.store import Volume

Summary = dict[str, Any]


def summarize_volume(volume: Volume) -> Summary:
    """Shape, splits, and a digest of each slice, so that two versions can be compared.

    Returns
    -------
    dict
        ``shape`` and ``voxel_size`` (z, y, x; nm), ``splits``; ``image``, a digest for each slice;
        ``labels``, by task ``slices``, a digest for each slice, and ``objects``, their number in
        each slice.
    """
    image: list[str] = []
    labels: dict[str, dict[str, list[Any]]] = {
        task: {"slices": [], "objects": []} for task in volume.tasks
    }
    for z in range(volume.shape[0]):
        image.append(_digest(volume.grey(z)))
        for task, each in labels.items():
            ids = volume.labels(task, z)
            each["slices"].append(_digest(ids))
            each["objects"].append(int(np.count_nonzero(np.unique(ids))))
    return {
        "shape": list(volume.shape),
        "voxel_size": list(volume.info.voxel_size),
        "splits": {name: list(span) for name, span in volume.info.splits.items()},
        "image": image,
        "labels": labels,
    }


def compare_summaries(before: Summary, after: Summary) -> Summary:
    """What differs between two versions of a volume; what is equal is left out.

    Returns
    -------
    dict
        ``shape``, ``voxel_size`` and ``splits``, each ``[before, after]``; ``image``, the slices
        that changed; ``labels``, by task ``slices`` and ``objects``, their number before and
        after.
    """
    changes: Summary = {
        key: [before[key], after[key]]
        for key in ("shape", "voxel_size", "splits")
        if before[key] != after[key]
    }
    if image := _changed(before["image"], after["image"]):
        changes["image"] = image
    labels = {}
    for task in sorted(before["labels"].keys() | after["labels"].keys()):
        old, new = (each["labels"].get(task, {}) for each in (before, after))
        if slices := _changed(old.get("slices", []), new.get("slices", [])):
            counts = [sum(each.get("objects", [])) for each in (old, new)]
            labels[task] = {"slices": slices, "objects": counts}
    return changes | ({"labels": labels} if labels else {})


def describe_changes(changes: Mapping[str, Any]) -> str:
    """``"image in 2 slices; neurites in 3 slices, 812 objects (was 810)"``."""
    parts = [f"{key.replace('_', ' ')} {changes[key][1]} (was {changes[key][0]})"
             for key in ("shape", "voxel_size", "splits") if key in changes]  # fmt: skip
    if "image" in changes:
        parts.append(f"image in {_slices(changes['image'])}")
    for task, each in changes.get("labels", {}).items():
        was, now = each["objects"]
        parts.append(f"{task} in {_slices(each['slices'])}, {now} objects (was {was})")
    return "; ".join(parts)


def _slices(changed: Sequence[int]) -> str:
    return f"{len(changed)} slice{'s' if len(changed) > 1 else ''}"


def _changed(before: Sequence[str], after: Sequence[str]) -> list[int]:
    """Slices that differ or that only one of the two has."""
    longest = max(len(before), len(after))
    old, new = ([*each, *[""] * (longest - len(each))] for each in (before, after))
    return [z for z in range(longest) if old[z] != new[z]]


def _digest(plane: np.ndarray) -> str:
    """Of values, shape and nothing else: a wider dtype of the same ids is the same."""
    wide = plane.astype("<f8" if plane.dtype.kind == "f" else "<u8")
    text = f"{plane.shape}".encode()
    return hashlib.blake2b(text + wide.tobytes(), digest_size=8).hexdigest()
