"""What the page "Review masks" asks of the ledger, the decisions' folders and the runs.

Names that come from a document, a tag or an address are looked up, never joined to a path as they
are; what a path leads to must lie in the folder that the settings name for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dashboards.queries.registry import has_no_ledger
from dashboards.queries.runs import RunRow, local_run, score_sets
from dashboards.viewer.scene import A, B, Masks, Scene
from emsam.data.store import Volume
from emsam.errors import InputError
from emsam.params import TASKS
from emsam.registry.comments import comments_on
from emsam.registry.database import Database
from emsam.registry.decision import PROMOTE, Decision
from emsam.registry.decision_page import CANDIDATE, CHAMPION, predictions_name
from emsam.registry.decisions import decision_file
from emsam.registry.review import CARRIED_OUT, VOID, Standing, standings
from emsam.settings import Settings

MOST_DECISIONS = 200
"""Newest decisions that can be chosen."""
_TASK_OF_METRIC = {"arand_contest_2d": "neurites", "ap50_accuracy_2d": "mitochondria"}


def list_decisions(settings: Settings) -> list[Standing]:
    """Decisions of all models and where they stand, the newest first."""
    if has_no_ledger(settings):
        return []
    database = Database(settings)
    names = [settings.model_name(task) for task in TASKS]
    found = [each for name in names for each in standings(name, database)]
    return sorted(found, key=lambda each: each.at, reverse=True)[:MOST_DECISIONS]


def may_be_answered(standing: Standing) -> bool:
    """Whether a person can still approve or reject it."""
    return standing.decision.verdict == PROMOTE and standing.state not in (CARRIED_OUT, VOID)


def decision_scene(decision: Decision, volume: int, settings: Settings) -> Scene:
    """Candidate (A) and champion (B) on a volume that a decision was made on.

    Parameters
    ----------
    volume
        Place among ``decision.judged``.

    Raises
    ------
    InputError
        Volume or masks are not on this machine, or not what was judged.
    """
    judged = decision.judged[volume]
    folder = inside(decision_file(decision.sha256, settings).parent, settings.home)
    remedy = "decide again with 'emsam promote' on the machine of this dashboard"
    who = {A: (CANDIDATE, decision.candidate), B: (CHAMPION, decision.champion)}
    masks = {}
    for key, (role, name) in who.items():
        if name is not None:
            store = inside(folder / predictions_name(volume, role), folder)
            masks[key] = Masks.open(f"{name} ({role})", store, remedy)
    task = _TASK_OF_METRIC.get(decision.metric)
    if task is None:
        raise InputError(f"{decision.sha256[:12]}: {decision.metric} belongs to no task")
    return Scene(open_volume(judged["data"], settings), task, judged["digest"], masks)


def run_scene(
    runs: Sequence[RunRow], data: str, split: str, digest: str, settings: Settings
) -> Scene:
    """One run or two (A, B) on a set that all of them were evaluated on.

    Raises
    ------
    InputError
        A run directory or the volume is not on this machine, or lacks what it needs.
    """
    masks, task = {}, ""
    for key, run in zip((A, B), runs, strict=False):
        entry = next(
            (s for s in score_sets(run, settings)
             if (s["data"], s["split"], s["digest"]) == (data, split, digest)),
            None,
        )  # fmt: skip
        if entry is None:
            raise InputError(f"{run.name}: was evaluated again meanwhile; reload this page")
        folder = local_run(run, settings)
        _require_name(data)
        _require_name(split)
        store = inside(folder.predictions_of(data, split), folder.path)
        remedy = f"run 'emsam evaluate {folder.path} --data {data} --split {split}' again"
        masks[key], task = Masks.open(run.label, store, remedy), entry["task"]
    return Scene(open_volume(data, settings), task, digest, masks)


def common_sets(runs: Sequence[RunRow], settings: Settings) -> list[dict[str, Any]]:
    """Entries of the first run's scores whose slices all of the runs were evaluated on."""
    every = [score_sets(run, settings) for run in runs]
    keys = [{(s["data"], s["split"], s["digest"], s["task"]) for s in sets} for sets in every]
    common = set.intersection(*keys) if keys else set()
    return [
        s for s in every[0] if (s["data"], s["split"], s["digest"], s["task"]) in common
    ] if every else []  # fmt: skip


def open_volume(name: str, settings: Settings) -> Volume:
    """The volume of this name.

    Raises
    ------
    InputError
        No name of a volume, none of that name, or one that lies outside ``data_root``.
    """
    _require_name(name)
    return Volume(inside(settings.volume_path(name), settings.data_root))


def inside(path: Path, root: Path) -> Path:
    """``path``, if it lies below ``root`` once all links are followed.

    Raises
    ------
    InputError
        It does not.
    """
    if not path.resolve().is_relative_to(root.resolve()):
        raise InputError(f"{path}: leads outside of {root}; nothing there is shown")
    return path


def _require_name(name: str) -> None:
    if Path(name).name != name or name in {"", ".", ".."}:
        raise InputError(f"{name!r} is no name of a volume or a split; evaluate again")


def read_comments(digest: str, subject: str, settings: Settings) -> list[dict[str, Any]]:
    """What the viewer shows of the comments on masks, the oldest first."""
    if has_no_ledger(settings):
        return []
    shown = ("z", "y", "x", "text", "by", "at")
    found = comments_on(digest, subject, settings)
    return [{name: getattr(each, name) for name in shown} for each in found]
