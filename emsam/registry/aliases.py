"""The aliases ``champion`` and ``previous`` of a model."""

from __future__ import annotations

from dataclasses import dataclass

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from emsam.errors import InputError
from emsam.registry.models import ABSENT, CHAMPION, PREVIOUS, no_such_model
from emsam.settings import Settings


@dataclass(frozen=True)
class Aliases:
    """Versions that the two aliases name; ``None`` where there is no such alias."""

    champion: int | None
    previous: int | None

    def __str__(self) -> str:
        return f"{CHAMPION} is {self.champion or 'nobody'}, {PREVIOUS} {self.previous or 'nobody'}"


def read_aliases(client: MlflowClient, name: str, settings: Settings) -> Aliases:
    """What the registry says now.

    Raises
    ------
    InputError
        No model of that name.
    """
    try:
        found = client.get_registered_model(name).aliases
    except MlflowException as error:
        if error.error_code not in ABSENT:
            raise
        raise InputError(no_such_model(name, settings)) from None
    champion, previous = found.get(CHAMPION), found.get(PREVIOUS)
    return Aliases(int(champion) if champion else None, int(previous) if previous else None)


def set_alias(client: MlflowClient, name: str, alias: str, version: int | None) -> None:
    """Let an alias name a version, or take it away."""
    if version is None:
        client.delete_registered_model_alias(name, alias)
    else:
        client.set_registered_model_alias(name, alias, str(version))
