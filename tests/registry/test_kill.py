"""kill -9 between every two steps of a promotion and of a rollback."""

from __future__ import annotations

import signal
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from typing import Any

import pytest

from emsam.errors import InputError
from emsam.registry.history import history_of
from emsam.registry.promotion import apply_decision
from emsam.registry.reconcile import reconcile_models
from emsam.registry.rollback import roll_back
from emsam.settings import Settings
from tests.registry.conftest import assert_agree, moves_of
from tests.registry.workers import (
    BEHIND_THE_ALIAS,
    NAME,
    STEPS,
    make_decision,
    promote_and_die,
    roll_back_and_die,
)
from tests.waiting import PATIENCE

pytestmark = pytest.mark.slow

FIRST = (1, "promote", None, 1)
SECOND = (2, "promote", 1, 2)
THIRD = (3, "rollback", 2, 1)


def kill(processes: ForkServerContext, job: Callable[..., Any], *arguments: Any) -> None:
    process = processes.Process(target=job, args=arguments)
    process.start()
    process.join(PATIENCE)
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("step", STEPS)
def test_a_promotion_that_was_killed_is_ended_at_the_next_start(
    step: str, settings: Settings, processes: ForkServerContext
) -> None:
    kill(processes, promote_and_die, settings, step)

    history = history_of(NAME, settings)
    cut_short = step not in ("before the intent", "after the commit")
    assert ["was cut short" in note for note in history["notes"]] == [True] * cut_short
    if step in BEHIND_THE_ALIAS:
        assert_agree(settings, 2, 1)
        assert moves_of(settings) == [FIRST, SECOND]
    else:
        assert_agree(settings, 1, None)
        assert moves_of(settings) == [FIRST]
    assert reconcile_models(settings) == []

    moved = apply_decision(make_decision(2, 1), settings, by="Ada")
    assert moved == (step not in BEHIND_THE_ALIAS)
    assert_agree(settings, 2, 1)
    assert moves_of(settings) == [FIRST, SECOND]


@pytest.mark.parametrize("step", STEPS)
def test_a_rollback_that_was_killed_is_done_once(
    step: str, settings: Settings, processes: ForkServerContext
) -> None:
    apply_decision(make_decision(2, 1), settings, by="Ada")
    kill(processes, roll_back_and_die, settings, step)

    # the same command again is the next start
    if step == "after the commit":
        with pytest.raises(InputError, match="--from 2: the champion of emsam-neurites is 1"):
            roll_back(NAME, settings, reason="merges axons", by="Ada", champion=2)
    else:
        assert roll_back(NAME, settings, reason="merges axons", champion=2).sequence == 3
    assert_agree(settings, 1, 2)
    assert moves_of(settings) == [FIRST, SECOND, THIRD]


@pytest.mark.parametrize("step", ["before champion", "before the commit"])
def test_reconcile_mends_once_and_says_so(
    step: str, settings: Settings, processes: ForkServerContext
) -> None:
    apply_decision(make_decision(2, 1), settings, by="Ada")
    kill(processes, roll_back_and_die, settings, step)
    (found,) = reconcile_models(settings)
    assert found.mended
    assert "rollback of emsam-neurites/1 by Ada was cut short" in found.what
    assert reconcile_models(settings) == []
    assert_agree(settings, *((1, 2) if step in BEHIND_THE_ALIAS else (2, 1)))
