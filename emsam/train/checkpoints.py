"""Checkpoints of a run: folders ``step-NNNNNN`` that are whole or do not count.

Each holds ``model.safetensors``, ``params.yaml``, ``trainer.pt`` and ``manifest.json``, which has
the sha256 of the others and, where the weights were just validated, their score.
"""

from __future__ import annotations

import errno
import json
import re
import shutil
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from emsam.data.digest import file_sha256
from emsam.documents import read_object, whole_folder
from emsam.errors import InputError, one_line
from emsam.metrics.variants import LOWER_IS_BETTER

if TYPE_CHECKING:  # whoever only looks at a run does not wait for torch
    from torch import Tensor

_Name = TypeVar("_Name", bound=Hashable)
_NAME = re.compile(r"step-\d{1,12}")
_FILES = {"model.safetensors", "params.yaml"}
_TRAINER = ("optimizer", "scaler", "step", "seconds", "torch_rng", "adapters")


@dataclass(frozen=True)
class Score:
    """A metric variant and its value."""

    metric: str
    value: float

    def is_better_than(self, other: float) -> bool:
        """Whether ``other``, a value of the same metric, is worse."""
        return self.value < other if self.metric in LOWER_IS_BETTER else self.value > other


@dataclass(frozen=True)
class Content:
    """What a checkpoint holds.

    Attributes
    ----------
    params
        Text of ``params.yaml``.
    score
        Of the weights on validation slices; ``None`` if it was not measured.
    """

    step: int
    model: dict[str, Tensor]
    trainer: dict[str, Any]
    params: str
    score: Score | None


def write_checkpoint(checkpoints: Path, content: Content, keep: int) -> None:
    """Write under a temporary name, sync, rename; then drop all but the best and the newest.

    Raises
    ------
    OSError
        ``ENOSPC``: the disk is full.
    """
    final = checkpoints / f"step-{content.step:06d}"
    if _is_whole(final):
        return
    checkpoints.mkdir(exist_ok=True)
    with whole_folder(final) as folder:  # a torn one goes: its step came again after a resume
        try:
            _fill(folder, content)
        except Exception as error:
            if not _is_full(folder, error):
                raise
            said = f"no space left for the checkpoint of step {content.step}"
            raise OSError(errno.ENOSPC, said, str(checkpoints.parent)) from error
    whole = list(whole_checkpoints(checkpoints))
    for old in set(whole[keep:]) - {best_of(whole)}:
        shutil.rmtree(old)


def whole_checkpoints(checkpoints: Path) -> Iterator[Path]:
    """Those whose files have the sha256 of their manifest, the newest first."""
    found = [each for each in checkpoints.glob("step-*") if _NAME.fullmatch(each.name)]
    for folder in sorted(found, key=step_of, reverse=True):
        if _is_whole(folder):
            yield folder


def step_of(checkpoint: Path) -> int:
    """Steps that were done when it was written."""
    return int(checkpoint.name.removeprefix("step-"))


def best_of(checkpoints: Iterable[Path]) -> Path | None:
    """The one with the best score, the newest of equal ones; ``None`` where none has a score."""
    return best_manifest({folder: _manifest(folder) for folder in checkpoints})


def best_manifest(manifests: Mapping[_Name, Mapping[str, Any]]) -> _Name | None:
    """Name of the one with the best score, the first of equal ones."""
    best: tuple[Score, _Name] | None = None
    for name, manifest in manifests.items():
        score = _score(manifest)
        if score and (best is None or score.is_better_than(best[0].value)):
            best = score, name
    return best[1] if best else None


def best_score(checkpoints: Iterable[Path]) -> Score | None:
    """The score of :func:`best_of`."""
    best = best_of(checkpoints)
    return _score(_manifest(best)) if best else None


def _score(manifest: Mapping[str, Any]) -> Score | None:
    """What a manifest says of its weights."""
    score = manifest.get("score")
    return Score(str(score["metric"]), float(score["value"])) if score else None


def _manifest(checkpoint: Path) -> dict[str, Any]:
    return read_object(checkpoint / "manifest.json", "copy the run again")


def read_trainer(checkpoint: Path) -> dict[str, Any]:
    """What ``trainer.pt`` keeps to go on with: numbers and tensors, nothing in it is run.

    Raises
    ------
    InputError
        A file that is missing, damaged, or holds anything else.
    """
    import torch

    path = checkpoint / "trainer.pt"
    try:
        trainer = torch.load(path, weights_only=True, map_location="cpu")
        return {key: trainer[key] for key in (*_TRAINER, *(trainer.keys() - set(_TRAINER)))}
    except Exception as error:  # torch raises many kinds on damaged files
        raise InputError(
            f"{path}: damaged, or more than a checkpoint of ours ({one_line(error)}); remove "
            f"{checkpoint}, then the run goes on from the one before"
        ) from None


def _fill(folder: Path, content: Content) -> None:
    import torch
    from safetensors.torch import save_file

    save_file(
        {name: tensor.contiguous() for name, tensor in content.model.items()},
        folder / "model.safetensors",
    )
    torch.save(content.trainer, folder / "trainer.pt")
    (folder / "params.yaml").write_text(content.params)
    manifest: dict[str, Any] = {"step": content.step}
    if content.score:
        manifest["score"] = asdict(content.score)
    manifest["files"] = {
        path.name: {"sha256": file_sha256(path), "bytes": path.stat().st_size}
        for path in sorted(folder.iterdir())
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


def _is_whole(folder: Path) -> bool:
    try:
        manifest = _manifest(folder)
        _score(manifest)
        files = manifest["files"].items()
        return manifest["files"].keys() >= _FILES and all(
            name == Path(name).name and file_sha256(folder / name) == entry["sha256"]
            for name, entry in files
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return False


def _is_full(folder: Path, error: Exception) -> bool:
    """Whether a disk was full; torch and safetensors say so in errors of their own."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return "os error 28" in str(error) or shutil.disk_usage(folder).free < 1 << 16
