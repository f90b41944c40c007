"""Ledger and aliases beside each other: what a crash left is mended, the rest is told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mlflow import MlflowClient

from emsam.errors import InputError
from emsam.registry.book import open_book
from emsam.registry.client import open_client
from emsam.registry.database import Busy, Database
from emsam.registry.ledger import ACKNOWLEDGED, Entry, Ledger, actor
from emsam.registry.models import CHAMPION
from emsam.settings import Settings


@dataclass(frozen=True)
class Difference:
    """Two places that do not say the same.

    Attributes
    ----------
    kind
        ``ledger``, ``alias``, ``flow run``, ``run`` or ``data``.
    where
        Model or run directory.
    mended
        Whether it is gone now.
    remedy
        What a person can do; empty where nothing is needed.
    """

    kind: str
    where: str
    what: str
    mended: bool
    remedy: str = ""


def reconcile_models(settings: Settings) -> list[Difference]:
    """Compare ledger and aliases of every model; mend intents that a crash left.

    A model whose champion is moved by another process just now is left to that one.
    """
    client = open_client(settings)
    names = set(Ledger(Database(settings)).names()) | set(_ours(client))
    found: list[Difference] = []
    for name in sorted(names):
        found += _reconcile_model(name, settings)
    return found


def acknowledge_aliases(name: str, settings: Settings, *, by: str, reason: str) -> Entry:
    """A row of the ledger that takes the aliases as they are; returns it.

    Raises
    ------
    InputError
        They agree with the ledger, or no reason is given.
    """
    if not reason.strip():
        raise InputError("--reason: say why; it is kept in the ledger")
    by = actor(by)
    with open_book(name, settings) as book:
        found = book.disagreement()
        if not found:
            raise InputError(f"{name}: aliases and ledger agree; there is nothing to acknowledge")
        return book.take_aliases_as_they_are(
            by=by, reason=f"{reason.strip()} ({found})", action=ACKNOWLEDGED
        )


def _reconcile_model(name: str, settings: Settings) -> list[Difference]:
    try:
        with open_book(name, settings, wait=0.0) as book:
            found = [Difference("ledger", name, note, True) for note in book.notes]
            if said := book.disagreement():
                remedy = f"emsam reconcile --acknowledge {name} --by NAME --reason TEXT"
                found.append(Difference("alias", name, said, False, remedy))
            return found
    except Busy:
        return []
    except InputError as error:
        return [Difference("ledger", name, str(error), False, "restore the model in MLflow")]


def _ours(client: MlflowClient) -> Iterator[str]:
    """Registered models whose champion is a package of ours."""
    page = client.search_registered_models()
    while True:
        for model in page:
            version = model.aliases.get(CHAMPION)
            if version and "emsam.package" in client.get_model_version(model.name, version).tags:
                yield model.name
        if not page.token:
            return
        page = client.search_registered_models(page_token=page.token)
