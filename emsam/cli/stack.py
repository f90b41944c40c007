"""Commands that start, stop and look at the local stack."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from emsam.cli.console import AsJson, emit, table
from emsam.errors import InputError


def add_commands(parent: typer.Typer) -> None:
    """Put this file's commands under ``emsam``."""
    panel = "Services"
    parent.command(rich_help_panel=panel, epilog="Example: emsam up")(up)
    parent.command(rich_help_panel=panel, epilog="Example: emsam down")(down)
    parent.command(rich_help_panel=panel, epilog="Example: emsam status")(status)
    parent.command(rich_help_panel=panel, epilog="Example: emsam backup /mnt/backups")(backup)
    parent.command(rich_help_panel=panel, epilog="Example: emsam restore emsam.tar")(restore)


def up(
    profile: Annotated[
        str | None,
        typer.Option(help="local, or team: with PostgreSQL, an S3 server and passwords."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Start Prefect's server and workers, MLflow's server and the dashboard; adopt what runs.

    A folder that began as a team's stays one.
    """
    from emsam.settings import Settings
    from emsam.stack import stack

    settings = Settings() if profile is None else Settings(profile=profile)
    if settings.team_file.exists() and not settings.is_team:
        raise InputError(
            f"{settings.team_file}: this folder is a team's; run 'emsam up', or set EMSAM_HOME to "
            "another folder"
        )
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


def backup(
    target: Annotated[Path, typer.Argument(help="The file, or a folder to put it in.")],
    as_json: AsJson = False,
) -> None:
    """Write a team's databases, objects, settings, passwords, decisions and runs into one file.

    The stack goes on. The file is read again before it gets its name; it holds passwords, so
    nobody else may read it.
    """
    from emsam.backup.make import backup
    from emsam.settings import Settings

    made = backup(target, Settings(), _say(as_json))
    line = f"{made['file']}: {made['size'] / 1e6:.1f} MB, {made['objects']} objects"
    emit(made, as_json, [f"{line}, {made['runs']} runs"])


def restore(
    file: Annotated[Path, typer.Argument(help="What 'emsam backup' wrote.")],
    as_json: AsJson = False,
) -> None:
    """Bring a backup into an empty EMSAM_HOME and an empty folder of runs.

    EMSAM_*_PORT variables give it other ports than it had.
    """
    from emsam.backup.restore import restore
    from emsam.settings import Settings

    done = restore(file, Settings(), _say(as_json))
    line = f"{done['home']}: as it was at {done['made']}; 'emsam up' starts it"
    emit(done, as_json, [line])


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
        if settings.is_team:
            lines += _for_other_programs(settings)
    emit({"services": rows, "prefect_api_url": url}, as_json, lines)


def _for_other_programs(settings: Any) -> list[str]:
    """How a shell reaches the rest of a team's stack."""
    from emsam.credentials import secrets_file

    return [
        f"export MLFLOW_TRACKING_URI={settings.tracking_uri} AWS_ENDPOINT_URL={settings.s3_url}",
        f"set -a; . {secrets_file(settings)}; set +a  # passwords",
    ]


def _since(row: dict[str, Any]) -> str:
    if row["since"] is None or row["state"] == "died":
        return "-"
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row["since"]))


def _say(as_json: bool) -> Any:
    """Lines as things happen; none for a script."""
    return (lambda line: None) if as_json else (lambda line: print(line, flush=True))
