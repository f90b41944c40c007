"""Registered models as the ledger's database and MLflow have them; reading mends nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dashboards.queries.tracker import is_unborn, tracker
from emsam.params import TASKS, Task
from emsam.registry.database import Database
from emsam.registry.ledger import Entry, Ledger
from emsam.registry.looks import LookCount, looks_of
from emsam.registry.models import list_versions
from emsam.registry.review import Standing, standings
from emsam.settings import Settings


@dataclass(frozen=True)
class ModelHistory:
    """All that is known of a registered model.

    Attributes
    ----------
    versions
        As :func:`emsam.registry.models.list_versions` has them, the newest first.
    ledger
        The oldest first.
    decisions
        The newest first.
    """

    name: str
    versions: list[dict[str, Any]]
    ledger: list[Entry]
    decisions: list[Standing]
    looks: list[LookCount]

    def aliases(self) -> dict[str, int]:
        """Version of each alias."""
        return {alias: each["version"] for each in self.versions for alias in each["aliases"]}


def model_names(settings: Settings) -> dict[str, Task]:
    """Names of the models that have a version, with their tasks.

    Raises
    ------
    TrackerUnreachable
        MLflow gives no answer.
    """
    if is_unborn(settings):
        return {}
    names = {settings.model_name(task): task for task in TASKS}
    with tracker(settings) as client:
        known = {each.name for each in client.search_registered_models()}
    return {name: task for name, task in names.items() if name in known}


def model_history(name: str, settings: Settings) -> ModelHistory:
    """Versions, ledger, decisions and looks of a model.

    Raises
    ------
    InputError
        No model of that name.
    TrackerUnreachable
        MLflow gives no answer.
    """
    with tracker(settings):
        versions = list_versions(name, settings)
    if has_no_ledger(settings):
        return ModelHistory(name, versions, [], [], [])
    database = Database(settings)
    return ModelHistory(
        name,
        versions,
        Ledger(database).entries(name),
        standings(name, database),
        looks_of(name, settings),
    )


def newest_entry(name: str, settings: Settings) -> Entry | None:
    """What the ledger says of a model last."""
    rows = [] if has_no_ledger(settings) else Ledger(Database(settings)).entries(name)
    return rows[-1] if rows else None


def open_decisions(settings: Settings) -> list[Standing]:
    """Decisions that can still make their candidate champion, of all models."""
    if has_no_ledger(settings):
        return []
    database = Database(settings)
    return [
        each
        for task in TASKS
        for each in standings(settings.model_name(task), database)
        if each.is_open
    ]


def has_no_ledger(settings: Settings) -> bool:
    """Whether the SQLite file is still to be made, which a page that only reads must not do."""
    url = settings.ledger_url
    return url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists()
