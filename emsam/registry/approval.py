"""What a person says of a decision: bound to its sha256, void once the champion has moved."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from sqlalchemy import insert, select

from emsam.errors import InputError, NotPromoted
from emsam.registry.book import Book, open_book
from emsam.registry.database import Database
from emsam.registry.decision import PROMOTE, Decision
from emsam.registry.decisions import find_decision
from emsam.registry.ledger import actor, now
from emsam.registry.tables import APPROVALS
from emsam.settings import Settings

APPROVED, REJECTED = "approved", "rejected"


@dataclass(frozen=True)
class Approval:
    """The answer of a person.

    Attributes
    ----------
    sequence
        Newest row of the model's ledger when it was given; it is void once there is another.
    answer
        ``approved`` or ``rejected``.
    """

    decision_sha256: str
    candidate: str
    sequence: int
    answer: str
    by: str
    reason: str
    at: str


def answer_decision(
    reference: str,
    settings: Settings,
    *,
    by: str,
    reason: str,
    reject: bool = False,
    seen: str | None = None,
) -> Approval:
    """Approve or reject a decision, by the first digits of its sha256 or its file.

    Parameters
    ----------
    seen
        When the last answer to this decision was given that the person knows of, ``""`` for
        none: of two people who answer at once, the second is told. ``None`` overrules.

    Raises
    ------
    InputError
        No such decision, one that was altered, that says nothing to approve, or that is out of
        date; no reason given; somebody else answered meanwhile.
    """
    if not reason.strip():
        raise InputError("--reason: say why; it is kept with the approval")
    decision = find_decision(reference, settings)
    if decision.verdict != PROMOTE:
        raise InputError(
            f"{reference}: the gate says {decision.verdict}; only a decision to promote can be "
            "approved or rejected"
        )
    with open_book(decision.candidate.split("/")[0], settings) as book:
        book.require_agreement()
        require_same_champion(book, decision)
        if seen is not None:
            _refuse_overtaken(decision, seen, book.ledger.database)
        approval = Approval(
            decision_sha256=decision.sha256,
            candidate=decision.candidate,
            sequence=book.sequence,
            answer=REJECTED if reject else APPROVED,
            by=actor(by),
            reason=reason.strip(),
            at=now(),
        )
        with book.ledger.database.begin() as connection:
            connection.execute(insert(APPROVALS), asdict(approval))
    return approval


def _refuse_overtaken(decision: Decision, seen: str, database: Database) -> None:
    answers = approvals_of(decision.candidate, database)
    mine = [each for each in answers if each.decision_sha256 == decision.sha256]
    if mine and mine[-1].at != seen:
        last = mine[-1]
        raise InputError(
            f"{last.by} {last.answer} this decision meanwhile: {last.reason}; reload to answer it"
        )


def require_same_champion(book: Book, decision: Decision) -> None:
    """Raise unless the champion is the one that the decision was made against."""
    version = book.aliases.champion
    current = None if version is None else f"{book.name}/{version}"
    if current != decision.champion:
        raise InputError(
            f"{book.name}: the champion is {current or 'nobody'}, decision {decision.sha256[:12]} "
            f"was made against {decision.champion or 'nobody'}; decide again with 'emsam promote'"
        )


def approval_for(decision: Decision, book: Book, *, required: bool) -> Approval | None:
    """The answer that counts for a decision now.

    Raises
    ------
    NotPromoted
        A person rejected it; or one must approve it and nobody did, or not this decision, or
        before the champion moved.
    """
    answers = approvals_of(decision.candidate, book.ledger.database)
    mine = [each for each in answers if each.decision_sha256 == decision.sha256]
    short, name = decision.sha256[:12], decision.candidate
    command = (
        f"run 'emsam approve {short} --by NAME --reason TEXT', then "
        f"'emsam promote --decision {short}'"
    )
    if mine and mine[-1].answer == REJECTED:
        last = mine[-1]
        raise NotPromoted(f"{name}: {last.by} rejected decision {short}: {last.reason}")
    if mine and mine[-1].sequence == book.sequence:
        return mine[-1]
    if not required:
        return None
    if mine:
        raise NotPromoted(
            f"{name}: {mine[-1].by} approved decision {short} before the champion moved, which "
            f"made it void; {command}"
        )
    if others := [each for each in answers if each.answer == APPROVED]:
        last = others[-1]
        raise NotPromoted(
            f"{name}: {last.by} approved decision {last.decision_sha256[:12]}, not {short}; "
            f"{command}"
        )
    raise NotPromoted(f"{name}: waits for a person's approval; {command}")


def approvals_of(candidate: str, database: Database) -> list[Approval]:
    """Answers to decisions about a candidate, the oldest first."""
    query = select(APPROVALS).where(APPROVALS.c.candidate == candidate).order_by(APPROVALS.c.id)
    with database.read() as connection:
        rows = connection.execute(query).mappings().all()
    return [Approval(**{k: v for k, v in row.items() if k != "id"}) for row in rows]
