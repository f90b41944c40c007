"""Runs a flow here and now, with the Prefect server that is configured or with one of its own."""

from __future__ import annotations

import logging
import os
from typing import Any

from emsam.errors import InputError
from emsam.params import Params
from emsam.settings import Settings


def run_locally(params: Params, settings: Settings, *, quiet: bool = False) -> dict[str, Any]:
    """Run the flow ``pipeline``; without ``PREFECT_API_URL`` a server lives as long as it does.

    Parameters
    ----------
    quiet
        Log warnings alone.
    """
    _configure_prefect(settings, quiet=quiet)
    from flows.pipeline import pipeline

    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).addFilter(_is_no_bad_input)
    return pipeline(params)


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
    if "PREFECT_API_URL" not in os.environ:
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
