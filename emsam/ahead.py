"""What comes next is made while the last is used."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

_Item = TypeVar("_Item")
_Made = TypeVar("_Made")


@contextmanager
def ahead(
    make: Callable[[_Item], _Made], items: Iterable[_Item], threads: int = 1
) -> Iterator[Iterator[_Made]]:
    """Like ``map``, of which each of ``threads`` makes one that was not asked for yet.

    ``items`` may have no end; they are taken in the thread that uses what is made. What one of
    them or its making raises is raised in its turn. The end of the block waits for those that are
    being made.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="ahead") as pool:
        yield _in_order(make, iter(items), pool, threads)


def _in_order(
    make: Callable[[_Item], _Made], items: Iterator[_Item], pool: ThreadPoolExecutor, count: int
) -> Iterator[_Made]:
    coming: deque[Future[_Made]] = deque()

    def begin_another() -> None:
        try:
            coming.append(pool.submit(make, next(items)))
        except StopIteration:
            pass
        except Exception as error:  # has its turn, as if making the item had failed
            failed: Future[_Made] = Future()
            failed.set_exception(error)
            coming.append(failed)

    for _ in range(count):
        begin_another()
    while coming:
        made = coming.popleft().result()
        begin_another()
        yield made
