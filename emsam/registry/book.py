"""One model's ledger and aliases in the hands of one process; every move of a champion is here.

::

    lock ─▶ mend what a crash left ─▶ checks ─▶ intent
         ─▶ alias previous ─▶ alias champion ─▶ read back ─▶ commit

The alias ``champion`` is the point of no return. Whoever opens the book after a crash looks at it:
it names the intended version, so the move is committed; it names the version before, so
``previous`` is put back and the intent dropped. Any other answer means that somebody moved it by
hand: the intent is dropped and the disagreement stays to be seen.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mlflow import MlflowClient

from emsam.errors import InputError
from emsam.registry.aliases import Aliases, read_aliases, set_alias
from emsam.registry.client import open_client
from emsam.registry.database import LOCK_SECONDS, Database
from emsam.registry.ledger import ADOPTED, PROMOTED, Entry, Intent, Ledger, next_entry
from emsam.registry.models import CHAMPION, PREVIOUS
from emsam.settings import Settings

_ADOPTER = "emsam"


class Book:
    """What :func:`open_book` gives.

    Attributes
    ----------
    head
        Newest row; ``None`` where there is none.
    aliases
        As they were read after mending.
    finished
        The row of a move that a crash had cut short and that was rolled forward just now.
    notes
        What was mended, in words.
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        client: MlflowClient,
        ledger: Ledger,
        check_lock: Callable[[], None],
    ) -> None:
        self.name, self.client, self.ledger = name, client, ledger
        self._settings, self._check_lock = settings, check_lock
        self.finished: Entry | None = None
        self.notes: list[str] = []
        self._mend()
        self.aliases = read_aliases(client, name, settings)
        rows = ledger.entries(name)
        self.head: Entry | None = rows[-1] if rows else self._adopt()

    @property
    def sequence(self) -> int:
        """Of the newest row; -1 where there is none."""
        return self.head.sequence if self.head else -1

    def disagreement(self) -> str:
        """How aliases differ from the ledger; empty where they agree."""
        row = self.head
        said = Aliases(row.to_version, row.previous_version) if row else Aliases(None, None)
        if self.aliases == said or (row is None and self.aliases.champion is None):
            return ""
        return f"in MLflow {self.aliases}, in the ledger {said}"

    def require_agreement(self) -> None:
        """Raise :class:`InputError` if an alias was moved behind the ledger's back."""
        if found := self.disagreement():
            raise InputError(
                f"{self.name}: {found}; somebody moved an alias behind the ledger: look at it, "
                f"then run 'emsam reconcile --acknowledge {self.name} --by NAME --reason TEXT'"
            )

    def take_aliases_as_they_are(self, *, by: str, reason: str, action: str) -> Entry:
        """A row that says what the aliases say."""
        values = {"to_version": self.aliases.champion, "previous_version": self.aliases.previous}
        entry = next_entry(self.name, self.head, action, by=by, reason=reason, **values)
        self.ledger.append(entry)
        self.head = entry
        return entry

    def move(
        self,
        action: str,
        version: int,
        *,
        by: str,
        reason: str,
        decision_sha256: str | None = None,
        approved_by: str | None = None,
        approval_reason: str | None = None,
    ) -> Entry:
        """Make ``version`` champion and the champion ``previous``; the caller checked that it may.

        Raises
        ------
        InputError
            Aliases and ledger did not agree, or somebody moved an alias meanwhile.
        """
        self.require_agreement()
        entry = next_entry(
            self.name, self.head, action,
            to_version=version,
            previous_version=self.aliases.champion or self.aliases.previous,
            decision_sha256=decision_sha256, approved_by=approved_by,
            approval_reason=approval_reason, by=by, reason=reason,
        )  # fmt: skip
        intent = Intent(entry, self.aliases.previous)
        at = str(int(time.time() * 1000))
        self.client.set_model_version_tag(self.name, str(version), "emsam.promoted_at", at)
        self._announce(intent)
        self._set_previous(entry)
        self._set_champion(entry)
        self._read_back(entry)
        self._commit(intent)
        return entry

    # -- the steps, each after a look whether the lock is still ours ----------------------------

    def _announce(self, intent: Intent) -> None:
        self._check_lock()
        self.ledger.write_intent(intent)

    def _set_previous(self, entry: Entry) -> None:
        self._check_lock()
        if entry.previous_version is not None:
            set_alias(self.client, self.name, PREVIOUS, entry.previous_version)

    def _set_champion(self, entry: Entry) -> None:
        self._check_lock()
        set_alias(self.client, self.name, CHAMPION, entry.to_version)

    def _read_back(self, entry: Entry) -> None:
        found = read_aliases(self.client, self.name, self._settings)
        if found != Aliases(entry.to_version, entry.previous_version):
            raise InputError(
                f"{self.name}: {found} after the champion was to be {entry.to_version}; somebody "
                "moves aliases in MLflow; see 'emsam reconcile'"
            )
        self.aliases = found

    def _commit(self, intent: Intent) -> None:
        self._check_lock()
        self.ledger.commit(intent)
        self.head = intent.entry

    # -- what earlier processes left ------------------------------------------------------------

    def _mend(self) -> None:
        """End what a crash cut short; the lock is ours, so nobody works on it."""
        intent = self.ledger.intent(self.name)
        if intent is None:
            return
        entry = intent.entry
        found = read_aliases(self.client, self.name, self._settings)
        what = f"{entry.action} of {entry.name}/{entry.to_version} by {entry.by} was cut short"
        if found.champion == entry.to_version:
            self.ledger.commit(intent)
            self.finished = entry
            self.notes.append(f"{what} behind the alias; rolled forward")
        elif found.champion == entry.from_version:
            if found.previous == entry.previous_version != intent.previous_before:
                set_alias(self.client, self.name, PREVIOUS, intent.previous_before)
            self.ledger.abandon(intent)
            self.notes.append(f"{what} before the alias; rolled back")
        else:
            self.ledger.abandon(intent)
            self.notes.append(f"{what}, and champion is {found.champion} now; dropped")

    def _adopt(self) -> Entry | None:
        """The champion of a time before the ledger becomes its first row."""
        if self.aliases.champion is None:
            return None
        self.head = None
        reason = "was champion before there was a ledger"
        entry = self.take_aliases_as_they_are(by=_ADOPTER, reason=reason, action=ADOPTED)
        self.notes.append(f"{self.name}/{entry.to_version} {reason}; adopted")
        return entry


@contextmanager
def open_book(name: str, settings: Settings, wait: float = LOCK_SECONDS) -> Iterator[Book]:
    """Lock a model's ledger, mend what a crash left, adopt a champion that is older than it.

    Raises
    ------
    InputError
        No model of that name.
    Busy
        Another process moves its champion, and did so for ``wait`` seconds.
    """
    client = open_client(settings)
    read_aliases(client, name, settings)  # before a database is made for a name that is none
    ledger = Ledger(Database(settings))
    with ledger.database.lock(name, wait) as check_lock:
        yield Book(name, settings, client, ledger, check_lock)


def was_carried_out(rows: list[Entry], decision_sha256: str) -> Entry | None:
    """The row of a promotion that carried a decision out."""
    for row in rows:
        if row.action == PROMOTED and row.decision_sha256 == decision_sha256:
            return row
    return None
