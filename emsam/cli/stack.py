"""Commands that start, stop and look at the local stack."""

from __future__ import annotations

import time
from typing import Any

import typer

from emsam.cli.console import AsJson, emit, table


def add_commands(parent: typer.Typer) -> None:
    """Put this file's commands under ``emsam``."""
    panel = "Services"
    parent.command(rich_help_panel=panel, epilog="Example: emsam up")(up)
    parent.command(rich_help_panel=panel, epilog="Example: emsam down")(down)
    parent.command(rich_help_panel=panel, epilog="Example: emsam status")(status)


def up(as_json: AsJson = False) -> None:
    """Start Prefect's server and workers, MLflow's server and the dashboard; adopt what runs."""
    from emsam.settings import Settings
    from emsam.stack import stack

    settings = Settings()
    emit_rows(stack.up(settings, _say(as_json)), settings, as_json)


def down(as_json: AsJson = False) -> None:
    """Cancel the runs of this machine's workers, then stop all services.

    Runs that wait stay in the queue; a cancelled training goes on from its checkpoint when it is
    started again.
    """
    from emsam.settings import Settings
    from emsam.stack import stack

    stopped = stack.down(Settings(), _say(as_json))
    emit({"stopped": stopped}, as_json, [] if stopped else ["nothing ran"])


def status(as_json: AsJson = False) -> None:
    """Say what runs and since when."""
    from emsam.settings import Settings
    from emsam.stack import stack

    settings = Settings()
    emit_rows(stack.status(settings), settings, as_json)


def emit_rows(rows: list[dict[str, Any]], settings: Any, as_json: bool) -> None:
    """Print the services, and how a shell reaches Prefect."""
    from emsam.stack.plan import prefect_url

    url = prefect_url(settings)
    cells = [
        [row["name"], row["state"], _since(row), str(row["pid"] or "-"), row["url"] or "-"]
        for row in rows
    ]
    columns = ["service", "state", "since", "pid", "address"]
    lines = table(f"services of {settings.home}", columns, cells)
    if any(row["name"].startswith("worker-") and row["state"] == "running" for row in rows):
        lines += ["", f"export PREFECT_API_URL={url}  # for 'prefect deployment run' in a shell"]
    emit({"services": rows, "prefect_api_url": url}, as_json, lines)


def _since(row: dict[str, Any]) -> str:
    if row["since"] is None or row["state"] == "died":
        return "-"
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row["since"]))


def _say(as_json: bool) -> Any:
    """Lines as things happen; none for a script."""
    return (lambda line: None) if as_json else (lambda line: print(line, flush=True))
