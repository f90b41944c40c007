"""The soak in short: each kind of fault once, on the stack of a team where PostgreSQL is."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from tests.soak.chaos import full_deck, schedule, short_deck
from tests.soak.lab import TEAM
from tests.soak.soak import Plan, show, soak


def test_the_same_seed_gives_the_same_faults() -> None:
    deck = full_deck(TEAM)
    first, again, other = (schedule(seed, deck, 20, shuffle=True) for seed in (1, 1, 2))
    dealt = [next(first) for _ in deck]
    assert sorted((each.kind, each.target) for each in dealt) == sorted(deck)
    assert dealt == [next(again) for _ in deck]
    assert dealt != [next(other) for _ in deck]


@pytest.mark.slow
def test_all_agree_after_every_kind_of_fault() -> None:
    here = list(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or shutil.which("initdb")
    profile = TEAM if here else "local"
    plan = Plan(runs=2, minutes=10, profile=profile, every=4, parallel=2, is_short=True)
    found = soak(plan, print)
    text = io.StringIO()
    show(found, Console(file=text, width=200))
    print(text.getvalue(), found["failures"], found["repairs"])
    assert found["agrees"], text.getvalue()
    hits = {name.split(" ")[0] for name in found["faults"]["hits"]}
    missing = {kind.split(" ")[0] for kind, _ in short_deck(profile)} - hits
    assert missing <= {"disk"}, found["faults"]["all"]  # which needs the right to mount
