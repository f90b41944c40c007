"""Look for what a crash or a hand left behind; made to run every few minutes."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from prefect import flow, get_run_logger

from emsam.settings import Settings
from flows.differences import find_differences


@flow(name="reconcile", flow_run_name="reconcile")
def reconcile() -> list[dict[str, Any]]:
    """Compare ledger, aliases, runs and versions; mend what is safe, warn of the rest.

    Returns:
        `kind`, `where`, `what`, `mended` and `remedy` of each difference.
    """
    log = get_run_logger()
    found = find_differences(Settings())
    for each in found:
        if each.mended:
            log.info("%s: %s; mended", each.where, each.what)
        else:
            log.warning("%s: %s; %s", each.where, each.what, each.remedy)
    return [asdict(each) for each in found]
