"""What comes next is made while the last is used."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

_Item = TypeVar("_Item")
_Made = TypeVar("_Made")


@contextmanager
def ahead(
    make: Callable[[_Item], _Made], items: Iterable[_Item], threads: int = 1
) -> Iterator[Iterator[_Made]]:
    """Like ``map``, of which each of ``threads`` makes one that was not asked for yet.

    ``items`` may have no end. What making one raises is raised where it is asked for. The end of
    the block waits for those that are being made.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="ahead") as pool:
        yield _in_order(make, iter(items), pool, threads)


def _in_order(
    make: Callable[[_Item], _Made], items: Iterator[_Item], pool: ThreadPoolExecutor, count: int
) -> Iterator[_Made]:
    coming = deque(pool.submit(make, item) for item in islice(items, count))
    while coming:
        made = coming.popleft().result()
        coming.extend(pool.submit(make, item) for item in islice(items, 1))
        yield made
