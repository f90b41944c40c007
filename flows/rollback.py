"""Take a promotion back."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from prefect import flow, get_run_logger

from emsam.registry.rollback import roll_back
from emsam.settings import Settings


@flow(name="rollback", flow_run_name="rollback {name}")
def rollback(name: str, reason: str, by: str = "", to: int | None = None) -> dict[str, Any]:
    """Make the champion before, or version ``to``, champion again.

    Args:
        name: Registered model, such as `emsam-neurites`.
        reason: Why; it is kept in the ledger.
        by: Who does it; empty for the login name of the worker.
        to: Version of an earlier champion; empty for the last one.

    Returns:
        The row of the ledger.
    """
    row = roll_back(name, Settings(), reason=reason, by=by, to=to)
    get_run_logger().info("%s/%s is champion; %s", name, row.to_version, row.reason)
    return asdict(row)
