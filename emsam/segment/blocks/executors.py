"""Who does the tasks: threads, processes, or a Dask cluster; the same tasks and the same result."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, Protocol

import torch

from emsam.errors import InputError, WorkersDied, one_line
from emsam.segment.blocks.work import Task, Work, do_task

_POLL = 0.5
_DEATHS = 3
"""Times in a row that workers may die before any of them finishes a task."""
_QUEUED = 4
"""Tasks a Dask thread has ahead."""


class Executor(Protocol):
    """Does tasks, in any order, and calls ``watch`` with those that are done, now and then."""

    def __call__(self, tasks: Sequence[Task], watch: Callable[[Sequence[Task]], None]) -> None: ...


@contextmanager
def threads(work: Work, count: int) -> Iterator[Executor]:
    """Threads of this process: one reads or makes objects while the network works for another."""

    def run(tasks: Sequence[Task], watch: Callable[[Sequence[Task]], None]) -> None:
        work.opened()
        with ThreadPoolExecutor(count) as pool:
            futures = {pool.submit(work.do, task): task for task in tasks}
            try:
                _drain(futures, watch)
            except BaseException:
                work.stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    try:
        yield run
    finally:
        work.close()


@contextmanager
def processes(folder: str, keep: int, count: int) -> Iterator[Executor]:
    """Processes of this machine; one that dies is replaced, and its task is done again."""

    def run(tasks: Sequence[Task], watch: Callable[[Sequence[Task]], None]) -> None:
        left, deaths = list(tasks), 0
        while left:
            before = len(left)
            try:
                _run_pool(left, folder, keep, count, watch)
            except BrokenProcessPool:
                deaths = 1 if len(left) < before else deaths + 1
                if deaths >= _DEATHS:
                    raise WorkersDied(
                        f"{deaths} times a worker died at {left[0].kind} {left[0].where}, such as "
                        "for want of memory; give fewer --workers, then run the same command again"
                    ) from None

    yield run


def _run_pool(
    left: list[Task],
    folder: str,
    keep: int,
    count: int,
    watch: Callable[[Sequence[Task]], None],
) -> None:
    """Do tasks and take those that are done off ``left``."""
    others = set(multiprocessing.active_children())
    share = max(1, torch.get_num_threads() // count)

    def done(tasks: Sequence[Task]) -> None:
        for task in tasks:
            left.remove(task)
        watch(tasks)

    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, context, _begin, (os.getpid(), share)) as pool:
        try:
            futures: dict[Future[None], Task] = {
                pool.submit(do_task, folder, keep, task): task for task in left
            }
            _drain(futures, done)
        except BaseException:
            for child in set(multiprocessing.active_children()) - others:
                child.terminate()  # what they have finished is in files
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _begin(parent: int, torch_threads: int) -> None:
    """A worker process ends with the one that started it, however that ends."""
    torch.set_num_threads(torch_threads)

    def watch_parent() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch_parent, daemon=True).start()


def _drain(futures: dict[Future[None], Task], watch: Callable[[Sequence[Task]], None]) -> None:
    """Wait for all; the first error is raised."""
    left = set(futures)
    while left:
        done, left = wait(left, timeout=_POLL, return_when=FIRST_COMPLETED)
        # those that were done before a worker died count
        broken = [each for each in done if each.exception() is not None]
        watch([futures[each] for each in done if each not in broken])
        for each in broken:
            each.result()


@contextmanager
def dask(address: str, folder: str, keep: int) -> Iterator[Executor]:
    """The workers of a Dask cluster, which see the same folder under the same name.

    Raises
    ------
    InputError
        Dask is not installed, or there is no scheduler.
    """
    try:
        from dask.distributed import Client
    except ModuleNotFoundError:
        raise InputError(
            "--dask needs dask.distributed, which is not installed: pip install -e '.[dask]'"
        ) from None
    try:
        client = Client(address, timeout=20, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, TimeoutError) as error:
        raise InputError(
            f"--dask {address}: no scheduler answers ({one_line(error)}); give its address, such "
            "as tcp://scheduler:8786"
        ) from None

    def run(tasks: Sequence[Task], watch: Callable[[Sequence[Task]], None]) -> None:
        _run_cluster(client, tasks, (folder, keep), watch)

    with client:
        yield run


def _run_cluster(
    client: Any,
    tasks: Sequence[Task],
    what: tuple[str, int],
    watch: Callable[[Sequence[Task]], None],
) -> None:
    """Keep every worker thread busy; tasks of a worker that dies go to others."""
    from dask.distributed import KilledWorker

    left = list(reversed(tasks))
    running: dict[Any, Task] = {}
    ended = threading.Event()
    try:
        while left or running:
            most = _QUEUED * max(1, sum(client.nthreads().values()))
            while left and len(running) < most:
                task = left.pop()
                future = client.submit(do_task, *what, task, pure=False)
                future.add_done_callback(lambda _: ended.set())
                running[future] = task
            ended.wait(_POLL)  # or look whether there are new workers
            ended.clear()
            done = [future for future in running if future.done()]
            finished = [running.pop(future) for future in done if future.status == "finished"]
            watch(finished)
            for future in done:
                if future.status != "finished":
                    future.result()
    except KilledWorker as error:
        raise WorkersDied(
            f"workers of the cluster died again and again ({one_line(error)}); give them more "
            "memory, then run the same command again"
        ) from None
    finally:
        client.cancel(list(running))
