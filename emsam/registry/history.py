"""What is known of a model: its versions, what moved its champion, who looked at its test sets."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from emsam.registry.book import open_book
from emsam.registry.database import Busy, Database
from emsam.registry.ledger import Ledger
from emsam.registry.looks import looks_of
from emsam.registry.models import list_versions
from emsam.settings import Settings


def history_of(name: str, settings: Settings) -> dict[str, Any]:
    """Versions, ledger and looks of a model; mends what a crash left of a promotion.

    Returns
    -------
    dict
        ``versions``, the newest first; ``ledger``, the oldest first; ``looks``, how many models
        were scored on each split that a version was scored on; ``notes``, what a reader should
        know.

    Raises
    ------
    InputError
        No model of that name.
    """
    notes: list[str] = []
    try:
        with open_book(name, settings, wait=0.0) as book:
            notes += book.notes
            if found := book.disagreement():
                notes.append(f"{found}; see 'emsam reconcile'")
    except Busy as busy:
        notes.append(str(busy))
    rows = Ledger(Database(settings)).entries(name)
    return {
        "versions": list_versions(name, settings),
        "ledger": [asdict(row) for row in rows],
        "looks": [asdict(each) for each in looks_of(name, settings)],
        "notes": notes,
    }
