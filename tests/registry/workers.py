"""What the tests' own processes do; each is killed or races with others for real."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

from emsam.registry import book, ledger
from emsam.registry.client import open_client
from emsam.registry.database import Database
from emsam.registry.decision import PROMOTE, Decision
from emsam.registry.ledger import Ledger
from emsam.registry.models import champion_of
from emsam.registry.promotion import apply_decision
from emsam.registry.rollback import roll_back
from emsam.settings import Settings

NAME = "emsam-neurites"
STEPS = {
    "before the intent": (book.Book, "_announce", "before"),
    "before previous": (book.Book, "_set_previous", "before"),
    "before champion": (book.Book, "_set_champion", "before"),
    "before reading back": (book.Book, "_read_back", "before"),
    "before the commit": (book.Book, "_commit", "before"),
    "in the commit": (ledger, "_drop_intent", "before"),
    "after the commit": (book.Book, "_commit", "after"),
}
"""Where a process is killed: between every two steps of a move."""
BEHIND_THE_ALIAS = ("before reading back", "before the commit", "in the commit", "after the commit")


def make_decision(candidate: int, champion: int | None, *, score: float = 0.1) -> Decision:
    return Decision(
        verdict=PROMOTE,
        reason=f"arand_contest_2d {score} against 0.5",
        candidate=f"{NAME}/{candidate}",
        champion=f"{NAME}/{champion}" if champion else None,
        metric="arand_contest_2d",
        candidate_score=score,
        champion_score=0.5,
        data="tiny",
        digest="0123456789abcdef0123456789abcdef.dir",
        split="test",
    )


def die_at(step: str) -> None:
    """kill -9 of this process when it comes there."""
    owner, name, when = STEPS[step]
    real: Callable[..., Any] = getattr(owner, name)

    def dying(*arguments: Any, **options: Any) -> None:
        if when == "after":
            real(*arguments, **options)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, name, dying)


def promote_and_die(settings: Settings, step: str) -> None:
    die_at(step)
    apply_decision(make_decision(2, 1), settings, by="Ada")


def roll_back_and_die(settings: Settings, step: str) -> None:
    die_at(step)
    roll_back(NAME, settings, reason="merges axons", by="Ada", champion=2)


def race(settings: Settings, candidates: list[int], barrier: Any, results: Any) -> None:
    """Two rounds; in each, every candidate wants to follow the same champion."""
    from threading import Thread

    threads = [Thread(target=_run, args=(settings, each, barrier, results)) for each in candidates]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _run(settings: Settings, candidate: int, barrier: Any, results: Any) -> None:
    for turn in (1, 2):
        champion = champion_of(open_client(settings), NAME)
        assert champion is not None
        barrier.wait()
        decision = make_decision(candidate, int(champion.version))
        try:
            said: Any = apply_decision(decision, settings, by=f"promoter {candidate}")
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
        results.put((turn, candidate, said))
        barrier.wait()


def open_database(settings: Settings, barrier: Any, results: Any) -> None:
    """Be among the first that open it."""
    barrier.wait()
    try:
        results.put(Ledger(Database(settings)).names())
    except Exception as error:
        results.put(f"{type(error).__name__}: {error}")
