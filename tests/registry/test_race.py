"""Fifty promoters at once, from eight processes, on both databases."""

from __future__ import annotations

from collections import Counter
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from emsam.registry.promotion import apply_decision
from emsam.settings import Settings
from tests.registry.conftest import assert_agree, register, rows_of, settings_in
from tests.registry.workers import make_decision, open_database, race

pytestmark = pytest.mark.slow

PROMOTERS, PROCESSES = 50, 8


@pytest.fixture(params=["sqlite", "postgresql"])
def crowd(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """A champion and fifty candidates; nobody has opened the ledger yet."""
    uri = request.getfixturevalue("postgres") if request.param == "postgresql" else ""
    settings = settings_in(tmp_path, ledger_uri=uri)
    register(settings, PROMOTERS + 1)
    assert apply_decision(make_decision(1, None), settings, by="Grace")
    return settings


def test_exactly_one_wins_each_sequence_number(
    crowd: Settings, processes: ForkServerContext
) -> None:
    barrier, results = processes.Barrier(PROMOTERS), processes.Queue()
    candidates = list(range(2, PROMOTERS + 2))
    crew = [
        processes.Process(target=race, args=(crowd, candidates[i::PROCESSES], barrier, results))
        for i in range(PROCESSES)
    ]
    for process in crew:
        process.start()
    said = [results.get(timeout=500) for _ in range(2 * PROMOTERS)]
    for process in crew:
        process.join(60)

    champions = [1]
    for turn in (1, 2):
        answers = {candidate: answer for t, candidate, answer in said if t == turn}
        won = [candidate for candidate, answer in answers.items() if answer is True]
        assert len(won) == 1, Counter(map(str, answers.values()))
        refusal = f"InputError: emsam-neurites: the champion is emsam-neurites/{won[0]}, decision"
        for candidate, answer in answers.items():
            was_champion = answer is False and candidate == champions[-1]
            assert candidate in won or was_champion or str(answer).startswith(refusal), answer
        champions += won
    assert [row.sequence for row in rows_of(crowd)] == [1, 2, 3]
    assert [row.to_version for row in rows_of(crowd)] == champions
    assert_agree(crowd, champions[-1], champions[-2])


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_many_open_a_new_database_at_once(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, processes: ForkServerContext
) -> None:
    uri = request.getfixturevalue("postgres") if kind == "postgresql" else ""
    settings = settings_in(tmp_path, ledger_uri=uri)
    barrier, results = processes.Barrier(PROCESSES), processes.Queue()
    crew = [
        processes.Process(target=open_database, args=(settings, barrier, results))
        for _ in range(PROCESSES)
    ]
    for process in crew:
        process.start()
    assert [results.get(timeout=200) for _ in crew] == [[]] * PROCESSES
    for process in crew:
        process.join(60)
