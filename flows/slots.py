"""Prefect's queue for the devices of a host: a global concurrency limit.

The limit makes jobs wait in sight of everybody. What keeps two of them off one device, whatever
happens to a server or a flow, is the trainer's own file lock.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.settings import get_current_settings

_LEASE = 60.0
"""Seconds after which Prefect frees the slot of a flow that was killed; its smallest."""
_ASK_EVERY = 10.0
"""Seconds; a slow server may grant a slot that is no longer asked for, until its lease ends."""


def has_server() -> bool:
    """Whether a Prefect server is configured; a temporary one has no queue that others see."""
    return bool(get_current_settings().api.url)


@contextmanager
def host_slots(kind: str, total: int, count: int, waiting: Callable[[str], Any]) -> Iterator[None]:
    """Hold ``count`` slots of this host's ``kind`` while the context is open.

    The limit is made with ``total`` slots when it is first needed; from then on it is what people
    set it to in Prefect.

    Parameters
    ----------
    kind
        ``"gpu"`` or ``"cpu"``.
    waiting
        Called with a sentence again and again while no slot is free.
    """
    name = f"emsam-{socket.gethostname()}-{kind}"
    limit = _find_or_create(name, total)
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(
                    concurrency(
                        name, occupy=count, timeout_seconds=_ASK_EVERY, lease_duration=_LEASE,
                        strict=True, raise_on_lease_renewal_failure=False,
                    )
                )  # fmt: skip
                break
            except TimeoutError:
                waiting(f"waiting for {count} of {limit} slots of '{name}' in Prefect")
        yield


def _find_or_create(name: str, total: int) -> int:
    with get_client(sync_client=True) as client:
        try:
            return client.read_global_concurrency_limit_by_name(name).limit
        except ObjectNotFound:
            pass
        with suppress(ObjectAlreadyExists):  # another job was quicker
            client.create_global_concurrency_limit(
                GlobalConcurrencyLimitCreate(name=name, limit=total)
            )
        return total
