"""Runs a flow here and now, with the Prefect server that is set, the stack's, or one of its own."""

from __future__ import annotations

import logging
import os
import socket
from contextlib import suppress
from typing import Any

from emsam.credentials import prefect_auth
from emsam.errors import InputError
from emsam.params import Params
from emsam.services import address_of
from emsam.settings import Settings


def run_locally(params: Params, settings: Settings, *, quiet: bool = False) -> dict[str, Any]:
    """Run the flow ``pipeline``; where no server runs, one lives as long as the flow does.

    Parameters
    ----------
    quiet
        Log warnings alone.
    """
    _configure_prefect(settings, quiet=quiet)
    from flows.pipeline import pipeline

    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).addFilter(_is_no_bad_input)
    return pipeline.with_options(on_running=[_note_process])(params)


def _note_process(flow: Any, flow_run: Any, state: Any) -> None:
    """Tell the server which process this is, so that ``emsam up`` knows if it has died."""
    from prefect.client.orchestration import get_client

    with suppress(Exception), get_client(sync_client=True) as client:
        place = f"{socket.gethostname()}:{os.getpid()}"
        client.update_flow_run(flow_run.id, infrastructure_pid=place)


def _configure_prefect(settings: Settings, *, quiet: bool) -> None:
    """Prefect reads its settings when it is first imported: keep its files in our home folder."""
    home = (settings.home / "prefect").absolute()
    home.mkdir(parents=True, exist_ok=True)  # Prefect makes the last folder alone
    environment = {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
        "PREFECT_LOGGING_LEVEL": "WARNING" if quiet else "INFO",
    }
    if address := os.environ.get("PREFECT_API_URL") or address_of("prefect", settings.home):
        environment["PREFECT_API_URL"] = address
        if auth := prefect_auth(settings, address):
            environment["PREFECT_API_AUTH_STRING"] = auth
    elif settings.is_team:
        raise InputError("the team's Prefect server does not run; start it with 'emsam up'")
    else:
        # Ctrl-C reaches the temporary server too; nobody should wait for it to answer then
        environment |= {
            "PREFECT_CLIENT_MAX_RETRIES": "1",
            "PREFECT_LOGGING_TO_API_ENABLED": "false",
        }
    for name, value in environment.items():
        os.environ.setdefault(name, value)


def _is_no_bad_input(record: logging.LogRecord) -> bool:
    """Bad input is told in one line by whoever called; its traceback helps nobody."""
    return not (record.exc_info and isinstance(record.exc_info[1], InputError))
