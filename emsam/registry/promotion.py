"""Moves the alias ``champion`` as a decision says, through the ledger."""

from __future__ import annotations

import tempfile
from pathlib import Path

from emsam.errors import InputError, NotPromoted
from emsam.registry.approval import approval_for, require_same_champion
from emsam.registry.book import Book, open_book, was_carried_out
from emsam.registry.decision import PROMOTE, Decision
from emsam.registry.decisions import find_decision, keep_decision
from emsam.registry.ledger import PROMOTED, actor
from emsam.registry.models import fetch_package, find_version
from emsam.registry.notify import notify
from emsam.settings import Settings


def apply_decision(decision: Decision, settings: Settings, *, by: str = "") -> bool:
    """Keep a decision that was just made and move ``champion`` as it says.

    Parameters
    ----------
    by
        Who promotes; by default the user's login name.

    Returns
    -------
    bool
        Whether the champion moved; not if the verdict is another, or it was champion already.

    Raises
    ------
    InputError
        The champion is no longer the one that the decision was made against, an alias was moved
        behind the ledger's back, or the candidate's package is not what was registered.
    NotPromoted
        A person must approve it, or rejected it, or it was carried out before and taken back.
    """
    by = actor(by)
    name, version = decision.candidate.split("/")
    promote = decision.verdict == PROMOTE
    if promote:
        check_package(decision.candidate, settings)
    with open_book(name, settings) as book:
        if decision.candidate != decision.champion:
            keep_decision(decision, book.ledger.database, settings)
            for tag, value in _tags(decision).items():
                book.client.set_model_version_tag(name, version, tag, value)
        try:
            moved = promote and _promote(decision, book, settings, by)
        except NotPromoted as why:
            notify(settings, f"{decision.candidate} waits", f"{decision.reason}\n{why}")
            raise
    _tell(decision, moved, settings, by)
    return moved


def carry_out(reference: str, settings: Settings, *, by: str = "") -> tuple[Decision, bool]:
    """Promote as a decision says that was made and kept before; nothing is scored again.

    Parameters
    ----------
    reference
        First digits of its sha256, or its file.

    Raises
    ------
    InputError
        As :func:`apply_decision`; also if the decision is not as the gate made it, or does not
        say promote.
    """
    by = actor(by)
    decision = find_decision(reference, settings)
    if decision.verdict != PROMOTE:
        raise InputError(f"{reference}: the gate says {decision.verdict}: {decision.reason}")
    check_package(decision.candidate, settings)
    with open_book(decision.candidate.split("/")[0], settings) as book:
        moved = _promote(decision, book, settings, by)
    _tell(decision, moved, settings, by)
    return decision, moved


def _tell(decision: Decision, moved: bool, settings: Settings, by: str) -> None:
    title = f"{decision.candidate}: {decision.verdict}"
    champion = f"{decision.candidate} is champion now, by {by}" if moved else ""
    notify(settings, title, "\n".join(filter(None, [decision.reason, champion])))


def check_package(reference: str, settings: Settings) -> None:
    """Raise :class:`InputError` unless a version's weights are those that were registered."""
    with tempfile.TemporaryDirectory() as folder:
        fetch_package(find_version(reference, settings), settings, Path(folder))


def _promote(decision: Decision, book: Book, settings: Settings, by: str) -> bool:
    version = int(decision.candidate.split("/")[1])
    if book.aliases.champion == version:
        return False
    book.require_agreement()
    before = was_carried_out(book.ledger.entries(book.name), decision.sha256)
    if before is not None:
        raise NotPromoted(
            f"{decision.candidate}: decision {decision.sha256[:12]} was carried out already "
            f"(sequence {before.sequence}) and taken back since; if it is to be champion again: "
            f"'emsam rollback {book.name} --to {version} --reason TEXT'"
        )
    require_same_champion(book, decision)
    approval = approval_for(decision, book, required=settings.approval == "required")
    book.move(
        PROMOTED,
        version,
        by=by,
        reason=decision.reason,
        decision_sha256=decision.sha256,
        approved_by=approval.by if approval else None,
        approval_reason=approval.reason if approval else None,
    )
    return True


def _tags(decision: Decision) -> dict[str, str]:
    return {"emsam.decision": decision.to_json(), "emsam.decision_sha256": decision.sha256}
