"""Takes a promotion back: the same path without the gate."""

from __future__ import annotations

from emsam.errors import InputError
from emsam.registry.book import Book, open_book
from emsam.registry.ledger import ROLLED_BACK, Entry, actor
from emsam.registry.notify import notify
from emsam.registry.promotion import check_package
from emsam.settings import Settings


def roll_back(
    name: str,
    settings: Settings,
    *,
    reason: str,
    by: str = "",
    to: int | None = None,
    champion: int | None = None,
) -> Entry:
    """Make an earlier champion champion again; returns the row of the ledger that says so.

    A rollback that a crash cut short behind the alias is finished by the next call, which then
    rolls back no further.

    Parameters
    ----------
    to
        Version of an earlier champion; by default the one that ``previous`` names.
    champion
        Version that is to be taken back; another champion is a reason to refuse.

    Raises
    ------
    InputError
        No reason, no earlier champion, an alias was moved behind the ledger's back, or the
        version's package is not what was registered.
    """
    if not reason.strip():
        raise InputError("--reason: say why; it is kept in the ledger")
    by = actor(by)
    with open_book(name, settings) as book:
        done = book.finished
        if done and done.action == ROLLED_BACK and to in (None, done.to_version):
            return done
        book.require_agreement()
        if champion not in (None, book.aliases.champion):
            now = book.aliases.champion or "nobody"
            raise InputError(f"--from {champion}: the champion of {name} is {now}")
        version = _target(book, to)
        check_package(f"{name}/{version}", settings)
        entry = book.move(ROLLED_BACK, version, by=by, reason=reason.strip())
    notify(settings, f"{name}/{version}: rolled back to", f"{entry.reason}\nby {by}")
    return entry


def _target(book: Book, to: int | None) -> int:
    champion, earlier = book.aliases.champion, earlier_champions(book)
    if to is None:
        if book.aliases.previous is None:
            raise InputError(f"{book.name}: had no champion before {champion or 'any'}; nothing "
                             "to roll back to")  # fmt: skip
        return book.aliases.previous
    if to == champion:
        raise InputError(f"--to {to}: {book.name}/{to} is the champion now")
    if to not in earlier:
        listed = ", ".join(map(str, sorted(earlier - {champion or 0}))) or "none"
        raise InputError(
            f"--to {to}: was never champion of {book.name}; earlier champions are {listed}, and "
            "others go through 'emsam promote'"
        )
    return to


def earlier_champions(book: Book) -> set[int]:
    """Every version that the ledger knows as champion, or as one from before it."""
    found: set[int | None] = set()
    for row in book.ledger.entries(book.name):
        found |= {row.from_version, row.to_version, row.previous_version}
    return {version for version in found if version is not None}
