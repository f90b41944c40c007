"""Prefect's queue for the devices of a host: a global concurrency limit.

The limit makes jobs wait in sight of everybody. What keeps two of them off one device, whatever
happens to a server or a flow, is the trainer's own file lock.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import (
    GlobalConcurrencyLimitCreate,
    GlobalConcurrencyLimitUpdate,
)
from prefect.client.schemas.responses import GlobalConcurrencyLimitResponse
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.settings import get_current_settings

_LEASE = 60.0
"""Seconds after which Prefect frees the slot of a flow that was killed; its smallest."""
_ASK_EVERY = 2.0
_ANSWER = 30.0
"""Seconds for a slow server; a slot that it grants later is free again when its lease ends."""


def has_server() -> bool:
    """Whether a Prefect server is configured; a temporary one has no queue that others see."""
    return bool(get_current_settings().api.url)


@contextmanager
def host_slots(kind: str, total: int, count: int, waiting: Callable[[str], Any]) -> Iterator[None]:
    """Hold ``count`` slots of this host's ``kind`` while the context is open.

    The limit has ``total`` slots, as this host's settings say, whatever it had before.

    Parameters
    ----------
    kind
        ``"gpu"`` or ``"cpu"``.
    waiting
        Called with a sentence again and again while no slot is free.
    """
    name = f"emsam-{socket.gethostname()}-{kind}"
    with ExitStack() as stack:
        while not (_has_room(name, total, count) and _enter(stack, name, count)):
            waiting(f"waiting for {count} free slots of '{name}' in Prefect")
            time.sleep(_ASK_EVERY)
        yield


def _enter(stack: ExitStack, name: str, count: int) -> bool:
    """Whether the slots were still free; Prefect logs an error if not, so look before."""
    held = concurrency(
        name, occupy=count, timeout_seconds=_ANSWER, lease_duration=_LEASE,
        strict=True, raise_on_lease_renewal_failure=False,
    )  # fmt: skip
    try:
        stack.enter_context(held)
    except TimeoutError:
        return False
    return True


def _has_room(name: str, total: int, count: int) -> bool:
    limit = _limit_of(name, total)
    return not limit.active or limit.active_slots + count <= limit.limit


def _limit_of(name: str, total: int) -> GlobalConcurrencyLimitResponse:
    """The limit, made or changed to ``total`` slots."""
    with get_client(sync_client=True) as client:
        with suppress(ObjectNotFound):
            limit = client.read_global_concurrency_limit_by_name(name)
            if limit.limit == total:
                return limit
            client.update_global_concurrency_limit(name, GlobalConcurrencyLimitUpdate(limit=total))
            return client.read_global_concurrency_limit_by_name(name)
        with suppress(ObjectAlreadyExists):  # another job was quicker
            client.create_global_concurrency_limit(
                GlobalConcurrencyLimitCreate(name=name, limit=total)
            )
        return client.read_global_concurrency_limit_by_name(name)
