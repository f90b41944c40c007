"""Commands around the champion: approve a decision, take a promotion back, mend what differs."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from emsam.cli.console import AsJson, emit
from emsam.errors import InputError

By = Annotated[str, typer.Option("--by", help="Who does it; by default your login name.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it is kept in the ledger.")]


def add_commands(parent: typer.Typer) -> None:
    """Put this file's commands under ``emsam``."""
    panel = "Decide"
    parent.command(
        rich_help_panel=panel,
        epilog="Example: emsam approve 3f9c0a12b4de --by Ada --reason 'masks look right'",
    )(approve)
    parent.command(
        rich_help_panel=panel,
        epilog="Example: emsam rollback emsam-neurites --reason 'merges axons in slice 40'",
    )(rollback)
    parent.command(rich_help_panel=panel, epilog="Example: emsam reconcile --json")(reconcile)


def approve(
    decision: Annotated[
        str, typer.Argument(help="First digits of its sha256, or its decision.json.")
    ],
    by: Annotated[str, typer.Option(help="Your name.")],
    reason: Annotated[str, typer.Option(help="Why; it is kept with the approval.")],
    reject: Annotated[bool, typer.Option("--reject", help="Say no instead.")] = False,
    as_json: AsJson = False,
) -> None:
    """Approve a decision to promote, or reject it; void once the champion has moved."""
    from dataclasses import asdict

    from emsam.registry.approval import answer_decision
    from emsam.settings import Settings

    if not by.strip():
        raise InputError("--by: say who you are; it is kept with the approval")
    said = answer_decision(decision, Settings(), by=by, reason=reason, reject=reject)
    short = said.decision_sha256[:12]
    lines = [f"{said.candidate}: {said.by} {said.answer} decision {short}"]
    if not reject:
        lines += [f"promote it with 'emsam promote --decision {short}'"]
    emit(asdict(said), as_json, lines)


def rollback(
    name: Annotated[str, typer.Argument(help="Registered model.")],
    reason: Reason,
    to: Annotated[
        int | None, typer.Option(help="Version of an earlier champion; by default the last one.")
    ] = None,
    champion: Annotated[
        int | None,
        typer.Option("--from", help="Refuse unless this is champion; safe to run again."),
    ] = None,
    by: By = "",
    as_json: AsJson = False,
) -> None:
    """Make the champion before champion again, or an earlier one."""
    from dataclasses import asdict

    from emsam.registry.rollback import roll_back
    from emsam.settings import Settings

    row = roll_back(name, Settings(), reason=reason, by=by, to=to, champion=champion)
    words = f"{name}/{row.to_version} is champion, {name}/{row.from_version} is previous"
    emit(asdict(row), as_json, [f"{words} (sequence {row.sequence} of the ledger)"])


def reconcile(
    acknowledge: Annotated[
        str, typer.Option(metavar="NAME", help="Take the aliases of this model as they are.")
    ] = "",
    by: By = "",
    reason: Annotated[str, typer.Option("--reason", help="Why, with --acknowledge.")] = "",
    as_json: AsJson = False,
) -> None:
    """Compare ledger, aliases, runs and data versions; mend what is safe, list the rest."""
    from dataclasses import asdict

    from emsam.registry.reconcile import acknowledge_aliases
    from emsam.settings import Settings

    settings = Settings()
    if acknowledge:
        row = acknowledge_aliases(acknowledge, settings, by=by, reason=reason)
        words = f"champion is {row.to_version or 'nobody'}, acknowledged by {row.by}"
        emit(asdict(row), as_json, [f"{acknowledge}: {words} (sequence {row.sequence})"])
        return
    if by or reason:
        raise InputError("--by and --reason go with --acknowledge NAME")
    from flows.differences import find_differences

    found = [asdict(each) for each in find_differences(settings)]
    emit(found, as_json, [_line(each) for each in found] or ["all agree"])


def _line(found: dict[str, Any]) -> str:
    after = "mended" if found["mended"] else found["remedy"]
    return f"{found['where']}: {found['what']}; {after}"
