from __future__ import annotations

import itertools
import threading

import pytest

from emsam.ahead import ahead


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("count", [0, 1, 3, 10])
def test_all_items_come_in_order(threads: int, count: int) -> None:
    with ahead(str, range(count), threads) as made:
        assert list(made) == [str(each) for each in range(count)]


@pytest.mark.parametrize("threads", [1, 3])
def test_each_thread_makes_one_item_that_nobody_asked_for(threads: int) -> None:
    begun = threading.Semaphore(0)

    def make(item: int) -> int:
        begun.release()
        return item

    with ahead(make, itertools.count(), threads) as made:
        for number in range(5):
            assert next(made) == number
            for _ in range(1 + threads if number == 0 else 1):
                begun.acquire()
            assert not begun.acquire(blocking=False)


def test_an_error_is_raised_where_its_item_is_asked_for() -> None:
    with ahead(lambda item: 6 // item, [3, 2, 0, 1]) as made:
        assert [next(made), next(made)] == [2, 3]
        with pytest.raises(ZeroDivisionError):
            next(made)


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_of_the_items_themselves_has_its_turn_too(threads: int) -> None:
    with ahead(str, map(int, ["1", "2", "x", "4"]), threads) as made:
        assert [next(made), next(made)] == ["1", "2"]
        with pytest.raises(ValueError, match="x"):
            next(made)
