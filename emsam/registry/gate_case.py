"""Who is judged and on what: all that the gate settles before anything is scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from emsam.data.digest import folder_digest
from emsam.data.store import Volume
from emsam.errors import InputError
from emsam.metrics.variants import PRIMARY
from emsam.params import TASKS, GateParams, Task
from emsam.registry.clean_process import Judged
from emsam.registry.decision import REJECT, Decision
from emsam.registry.looks import count_gate_look
from emsam.registry.models import champion_of
from emsam.registry.names import version_name
from emsam.registry.training_slices import learned_by, refuse_overlap
from emsam.settings import Settings


@dataclass(frozen=True)
class Case:
    """A candidate, the champion if there is one, and the slices that decide between them."""

    candidate: ModelVersion
    champion: ModelVersion | None
    task: Task
    judged: Sequence[Judged]

    @property
    def models(self) -> list[ModelVersion]:
        """The candidate first."""
        return [self.candidate, *([self.champion] if self.champion else [])]

    @property
    def is_of_champion(self) -> bool:
        """Whether the candidate is the champion already."""
        return self.champion is not None and int(self.champion.version) == int(
            self.candidate.version
        )

    def frame(self) -> Decision:
        """The decision, all but its result."""
        return Decision(
            verdict=REJECT,
            reason="",
            candidate=version_name(self.candidate),
            champion=version_name(self.champion) if self.champion else None,
            metric=PRIMARY[self.task],
            candidate_score=None,
            champion_score=None,
            data=",".join(each.name for each in self.judged),
            digest=",".join(each.digest for each in self.judged),
            split=",".join(dict.fromkeys(each.split for each in self.judged)),
            judged=tuple(
                {"data": each.name, "digest": each.digest, "split": each.split,
                 "slices": list(each.slices), "improvement": None}
                for each in self.judged
            ),
        )  # fmt: skip


def open_case(
    candidate: ModelVersion,
    on: Sequence[tuple[Volume, str]],
    client: MlflowClient,
    settings: Settings,
) -> Case:
    """Find the champion and the slices; nothing is scored, counted or written.

    Raises
    ------
    InputError
        No model of ours, or volumes that cannot be judged on.
    """
    champion = champion_of(client, candidate.name)
    task = _task_of(candidate.name, settings)
    return Case(candidate, champion, task, _judged_slices(on, task))


def admit(case: Case, gate: GateParams, client: MlflowClient, settings: Settings) -> Decision:
    """The frame of the decision, once the models may be judged on these slices.

    The look at them is counted.

    Raises
    ------
    InputError
        A model has learned from them, or nobody knows what it learned from.
    """
    learned = []
    for each in case.models:
        name = version_name(each)
        learned += refuse_overlap(name, learned_by(each, client), case.judged, settings)
    return replace(
        case.frame(),
        packages=_packages(case),
        gate=gate.model_dump(mode="json"),
        notes=(*_notes(case), *learned),
        looks=_count_looks(case, settings),
    )


def _task_of(name: str, settings: Settings) -> Task:
    for task in TASKS:
        if settings.model_name(task) == name:
            return task
    names = ", ".join(settings.model_name(task) for task in TASKS)
    raise InputError(f"{name}: no model of EM-SAM; models are called {names}")


def _judged_slices(on: Sequence[tuple[Volume, str]], task: Task) -> list[Judged]:
    """What is judged on; refused unless each slice counts once."""
    judged = []
    for volume, split in on:
        if split not in ("val", "test"):
            raise InputError(f"--split {split}: models are compared on val or test slices")
        volume.require_task(task)
        slices = tuple(volume.slices(split, task))
        judged.append(Judged(volume, folder_digest(volume.path), split, slices))
    if not judged:
        raise InputError("nothing to judge on; name a volume with --data")
    digests = [each.digest for each in judged]
    for each in judged:
        if digests.count(each.digest) > 1:
            raise InputError(f"--data {each.name}: its slices would count twice; name it once")
    return judged


def _count_looks(case: Case, settings: Settings) -> int:
    """Note this look; how many models were scored on the volume that was looked at most."""
    return max(
        count_gate_look(case.candidate, case.champion, each.digest, each.split, settings)
        for each in case.judged
    )


def _notes(case: Case) -> list[str]:
    notes = []
    if case.champion is None:
        notes.append("there was no champion to compare with: the scores alone were looked at")
    if any(each.split == "val" for each in case.judged):
        notes.append(
            "decided on validation slices, which chose checkpoints and thresholds of these models: "
            "their scores are flattered"
        )
    return notes


def _packages(case: Case) -> dict[str, Any]:
    """Digest of weights and post-processing of each model."""
    models = {"candidate": case.candidate}
    models |= {"champion": case.champion} if case.champion else {}
    return {who: each.tags.get("emsam.package") for who, each in models.items()}
