from __future__ import annotations

import threading

import pytest

from dashboards.kept import Kept
from emsam.settings import Settings
from tests.waiting import wait_for


def test_the_last_answer_is_shown_until_the_next_is_here() -> None:
    answers, go = iter(range(9)), threading.Event()
    go.set()

    def query(settings: Settings) -> int:
        go.wait(60)
        return next(answers)

    kept, settings = Kept(query, fresh=-1), Settings()
    assert kept.get(settings) == 0
    go.clear()
    assert [kept.get(settings) for _ in range(3)] == [0, 0, 0]  # nobody waits, one thread asks
    assert kept.is_renewing(settings)
    go.set()
    wait_for(lambda: not kept.is_renewing(settings), "the next answer")
    assert kept.last(settings) == 1
    kept.forget()
    assert kept.get(settings) == 2


def test_who_asks_is_told_what_went_wrong_and_may_ask_again() -> None:
    answers = iter([0, OSError("away"), OSError("away"), 7])

    def query(settings: Settings) -> int:
        found = next(answers)
        if isinstance(found, OSError):
            raise found
        return found

    kept, settings = Kept(query, fresh=-1), Settings()
    assert [kept.get(settings) for _ in range(2)] == [0, 0]
    wait_for(lambda: kept.last(settings) is None, "the failure")
    wait_for(lambda: not kept.is_renewing(settings), "the end of the thread")
    with pytest.raises(OSError, match="away"):
        kept.get(settings)
    assert kept.get(settings) == 7
