"""Where the decisions about a model stand: what waits for a person, and what became of the rest."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select

from emsam.errors import InputError
from emsam.registry.approval import APPROVED, REJECTED, Approval
from emsam.registry.database import Database
from emsam.registry.decision import PROMOTE, Decision
from emsam.registry.ledger import Entry, Ledger
from emsam.registry.tables import APPROVALS, DECISIONS

WAITING, CARRIED_OUT, VOID = "waiting", "carried out", "void"
"""States beside those of an answer and the verdicts ``reject`` and ``inconclusive``."""


@dataclass(frozen=True)
class Standing:
    """A decision and where it stands.

    Attributes
    ----------
    state
        ``waiting`` for an answer or to be carried out, ``approved``, ``rejected``, ``carried
        out``, ``void`` because the champion has moved, or the verdict that needs no answer.
    at
        When it was made, UTC, ISO 8601.
    answer
        The last word of a person.
    """

    decision: Decision
    state: str
    at: str
    answer: Approval | None

    @property
    def is_open(self) -> bool:
        """Whether it can still make its candidate champion."""
        return self.state in (WAITING, APPROVED)


def standings(name: str, database: Database) -> list[Standing]:
    """All decisions about versions of a model, the newest first.

    One whose document was altered is left out; ``emsam registry verify`` names it.
    """
    mine = DECISIONS.c.candidate.startswith(f"{name}/", autoescape=True)
    answers = APPROVALS.c.candidate.startswith(f"{name}/", autoescape=True)
    with database.read() as connection:
        rows = connection.execute(select(DECISIONS).where(mine)).mappings().all()
        said = connection.execute(select(APPROVALS).where(answers).order_by(APPROVALS.c.id))
        by_sha = {
            row["decision_sha256"]: Approval(**{k: v for k, v in row.items() if k != "id"})
            for row in said.mappings()
        }
    ledger = Ledger(database).entries(name)
    found = []
    for row in sorted(rows, key=lambda each: each["at"], reverse=True):
        try:
            decision = Decision.from_json(row["document"])
        except InputError:
            continue
        answer = by_sha.get(decision.sha256)
        found.append(Standing(decision, _state(decision, answer, ledger), row["at"], answer))
    return found


def _state(decision: Decision, answer: Approval | None, ledger: list[Entry]) -> str:
    if any(row.decision_sha256 == decision.sha256 for row in ledger):
        return CARRIED_OUT
    if decision.verdict != PROMOTE:
        return decision.verdict
    if answer and answer.answer == REJECTED:
        return REJECTED
    version = ledger[-1].to_version if ledger else None
    champion = None if version is None else f"{ledger[-1].name}/{version}"
    if champion != decision.champion:
        return VOID
    fresh = answer and answer.sequence == (ledger[-1].sequence if ledger else -1)
    return APPROVED if fresh else WAITING
