"""The ledger: what moved the champion of a model, when, by whom and why, in rows that are chained.

The sha256 of a row covers its content and the sha256 of the row before it, so that a row that was
changed or taken out later is found by ``emsam registry verify``.
"""

from __future__ import annotations

import getpass
import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select
from sqlalchemy.exc import IntegrityError

from emsam.documents import document_digest
from emsam.errors import InputError
from emsam.registry.database import Database
from emsam.registry.tables import INTENTS, LEDGER

ADOPTED, PROMOTED, ROLLED_BACK, ACKNOWLEDGED = "adopted", "promote", "rollback", "acknowledged"


@dataclass(frozen=True)
class Entry:
    """One row of a model's ledger.

    Attributes
    ----------
    sequence
        From 1; 0 is a champion that was there before the ledger.
    from_version, to_version
        Champion before and after; ``None`` where there was none.
    previous_version
        What the alias ``previous`` names after it.
    decision_sha256
        Of the decision that was carried out.
    approved_by, approval_reason
        Of the person who approved it, if one did.
    at
        UTC, ISO 8601.
    before_sha256
        Of the row before it; empty in the first.
    """

    name: str
    sequence: int
    action: str
    from_version: int | None
    to_version: int | None
    previous_version: int | None
    decision_sha256: str | None
    approved_by: str | None
    approval_reason: str | None
    by: str
    reason: str
    at: str
    before_sha256: str
    sha256: str = ""

    def digest(self) -> str:
        """What its ``sha256`` must be."""
        return document_digest({k: v for k, v in asdict(self).items() if k != "sha256"})

    def sealed(self) -> Entry:
        return replace(self, sha256=self.digest())


@dataclass(frozen=True)
class Intent:
    """An entry that is not in the ledger yet, and what ``previous`` named before it."""

    entry: Entry
    previous_before: int | None


class Ledger:
    """Rows and intents of all models.

    Who writes holds the lock of the model (:meth:`Database.lock`).
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def names(self) -> list[str]:
        """Models with a row or an intent."""
        with self.database.read() as connection:
            found = connection.execute(select(LEDGER.c.name).union(select(INTENTS.c.name)))
            return sorted(found.scalars())

    def entries(self, name: str) -> list[Entry]:
        """Rows of a model, the oldest first."""
        query = select(LEDGER).where(LEDGER.c.name == name).order_by(LEDGER.c.sequence)
        with self.database.read() as connection:
            return [Entry(**row) for row in connection.execute(query).mappings()]

    def intent(self, name: str) -> Intent | None:
        """What was begun and not ended."""
        query = select(INTENTS).where(INTENTS.c.name == name)
        with self.database.read() as connection:
            row = connection.execute(query).mappings().one_or_none()
        if row is None:
            return None
        return Intent(Entry(**json.loads(row["document"])), row["previous_before"])

    def append(self, entry: Entry) -> None:
        """Add a row that no intent preceded."""
        with self.database.begin() as connection:
            _add(connection, entry)

    def write_intent(self, intent: Intent) -> None:
        entry = intent.entry
        row = {
            "name": entry.name,
            "sequence": entry.sequence,
            "previous_before": intent.previous_before,
            "document": json.dumps(asdict(entry), sort_keys=True),
        }
        with self.database.begin() as connection:
            try:
                connection.execute(insert(INTENTS), row)
            except IntegrityError:
                raise InputError(_came_first(entry)) from None

    def commit(self, intent: Intent) -> None:
        """The intent becomes the row that it announced."""
        with self.database.begin() as connection:
            _add(connection, intent.entry)
            _drop_intent(connection, intent)

    def abandon(self, intent: Intent) -> None:
        """Nothing came of it."""
        with self.database.begin() as connection:
            _drop_intent(connection, intent)


def next_entry(name: str, before: Entry | None, action: str, **values: Any) -> Entry:
    """The row that follows ``before``, sealed; ``values`` are what else :class:`Entry` has."""
    first = 0 if action == ADOPTED else 1
    empty: dict[str, Any] = {
        "from_version": before.to_version if before else None,
        "decision_sha256": None,
        "approved_by": None,
        "approval_reason": None,
    }
    return Entry(
        name=name,
        sequence=before.sequence + 1 if before else first,
        action=action,
        at=now(),
        before_sha256=before.sha256 if before else "",
        **(empty | values),
    ).sealed()


def now() -> str:
    """UTC, ISO 8601, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def actor(by: str = "") -> str:
    """Who does it: the name that is given, or the user's login name.

    Raises
    ------
    InputError
        No name is given and the system knows none.
    """
    if by.strip():
        return by.strip()
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise InputError("--by: this user has no login name; say who you are") from None


def _add(connection: Connection, entry: Entry) -> None:
    try:
        connection.execute(insert(LEDGER), asdict(entry))
    except IntegrityError:
        raise InputError(_came_first(entry)) from None


def _drop_intent(connection: Connection, intent: Intent) -> None:
    entry = intent.entry
    mine = (INTENTS.c.name == entry.name) & (INTENTS.c.sequence == entry.sequence)
    if connection.execute(delete(INTENTS).where(mine)).rowcount != 1:
        raise InputError(_came_first(entry))  # our lock was lost and somebody ended it for us


def _came_first(entry: Entry) -> str:
    return (
        f"{entry.name}: somebody else moved the champion first (sequence {entry.sequence} is "
        "taken); decide again with 'emsam promote'"
    )
