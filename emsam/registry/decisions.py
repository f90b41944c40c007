"""Decisions as they were made: kept once, found again, refused if a number was altered."""

from __future__ import annotations

import re
from pathlib import Path

from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from emsam.documents import write_whole
from emsam.errors import InputError
from emsam.registry.database import Database
from emsam.registry.decision import Decision
from emsam.registry.ledger import now
from emsam.registry.tables import DECISIONS
from emsam.settings import Settings

_PREFIX = re.compile(r"[0-9a-f]{6,64}")


def keep_decision(decision: Decision, database: Database, settings: Settings) -> Path:
    """Keep a decision that was just made, in the ledger's database and as a file.

    Returns
    -------
    Path
        ``<home>/decisions/<first 12 digits of its sha256>/decision.json``.
    """
    row = {
        "sha256": decision.sha256,
        "candidate": decision.candidate,
        "document": decision.to_json(),
        "at": now(),
    }
    try:
        with database.begin() as connection:
            connection.execute(insert(DECISIONS), row)
    except IntegrityError:
        pass  # the same document, to the bit
    path = decision_file(decision.sha256, settings)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, decision.to_json())
    return path


def decision_file(sha256: str, settings: Settings) -> Path:
    """Where the file of a decision is."""
    return settings.home / "decisions" / sha256[:12] / "decision.json"


def find_decision(reference: str, settings: Settings) -> Decision:
    """A decision by the first digits of its sha256, or from a file.

    Raises
    ------
    InputError
        No such decision, several, or one that is not as the gate made it.
    """
    kept = Database(settings)
    if _PREFIX.fullmatch(reference):
        return _from_database(kept, reference)
    path = Path(reference)
    if not path.is_file():
        raise InputError(
            f"{reference}: no file, and no sha256 of a decision (at least six digits of it); "
            "'emsam registry log NAME' lists them"
        )
    decision = Decision.from_file(path)
    if recorded_text(kept, decision.sha256) is None:
        raise InputError(_altered(reference))
    return decision


def digest_of(text: str) -> str:
    """sha256 of a decision's content; empty where it is none."""
    try:
        return Decision.from_json(text).sha256
    except InputError:
        return ""


def _altered(origin: str) -> str:
    return (
        f"{origin}: is not as the gate made it, its content has another sha256; decide again with "
        "'emsam promote'"
    )


def recorded_text(database: Database, sha256: str) -> str | None:
    """The document of a decision, as the ledger's database has it."""
    with database.read() as connection:
        query = select(DECISIONS.c.document).where(DECISIONS.c.sha256 == sha256)
        return connection.execute(query).scalar_one_or_none()


def _from_database(database: Database, prefix: str) -> Decision:
    query = select(DECISIONS).where(DECISIONS.c.sha256.startswith(prefix))
    with database.read() as connection:
        rows = connection.execute(query).mappings().all()
    if len(rows) != 1:
        said = "no decision begins so" if not rows else f"{len(rows)} decisions begin so"
        raise InputError(f"{prefix}: {said}; 'emsam registry log NAME' lists them")
    row = rows[0]
    if digest_of(row["document"]) != row["sha256"]:
        raise InputError(_altered(f"{prefix} in {database.address}"))
    return Decision.from_json(row["document"])
