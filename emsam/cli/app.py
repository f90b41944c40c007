"""Entry point of the ``emsam`` command and what every command shares.

Heavy imports live inside the commands that need them, so that ``emsam --help`` answers at once.
"""

from __future__ import annotations

import os
import sys

import typer
from typer.core import TyperGroup

from emsam.cli import data, jobs, ledger, model, registry, segment, stack, weights
from emsam.errors import (
    DiskFull,
    InputError,
    LedgerFailed,
    StackFailed,
    TrainingFailed,
    TrainingStopped,
    VersioningFailed,
    WorkersDied,
    harmless,
)
from emsam.interrupts import forget_caught_interrupts, interrupted, watch_for_ctrl_c
from emsam.quiet import QUIET_ENVIRONMENT

_GO_ON = "interrupted; run the same command again to go on"
EXIT_FAILED, EXIT_BAD_INPUT, EXIT_STOPPED, EXIT_INTERRUPTED, EXIT_TERMINATED = 1, 2, 75, 130, 143

_FAILURES = (
    DiskFull,
    LedgerFailed,
    StackFailed,
    TrainingFailed,
    VersioningFailed,
    WorkersDied,
)


class _InOrderOfUse(TyperGroup):
    """Lists the commands in the order in which a lab comes to them."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        order = [
            "data", "weights", "features", "train", "jobs", "tune", "evaluate", "score", "model",
            "registry", "promote", "approve", "rollback", "reconcile", "segment",
        ]  # fmt: skip
        return [*order, *(name for name in super().list_commands(ctx) if name not in order)]


app = typer.Typer(
    name="emsam",
    cls=_InOrderOfUse,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Fine-tune, judge, promote and use segmentation models of electron-microscopy images.",
    epilog="Folders and addresses are set by EMSAM_* variables; see docs/reference/settings.md.",
)
app.add_typer(data.app, name="data", rich_help_panel="Data")
app.add_typer(weights.app, name="weights", rich_help_panel="Train and judge")
app.add_typer(jobs.app, name="jobs", rich_help_panel="Train and judge")
model.add_commands(app)
segment.add_commands(app)
registry.add_commands(app)
ledger.add_commands(app)
stack.add_commands(app)


def main() -> None:
    """Run the command line; every foreseen error is one line on stderr and an exit status."""
    for name, value in QUIET_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    watch_for_ctrl_c()
    try:
        app()
    except InputError as error:
        _fail(error, EXIT_BAD_INPUT)
    except (KeyboardInterrupt, SystemExit) as stop:
        # typer turns the first into the second, without a word
        if isinstance(stop, SystemExit) and stop.code != EXIT_INTERRUPTED:
            raise
        _fail(_GO_ON, EXIT_INTERRUPTED)
    except TrainingStopped as error:
        _fail(error, EXIT_STOPPED)
    except _FAILURES as error:
        _fail(error, EXIT_FAILED)
    except Exception as error:
        if interrupted():  # some libraries wrap KeyboardInterrupt into errors of their own
            _fail(_GO_ON, EXIT_INTERRUPTED)
        from emsam.documents import is_disk_full

        if is_disk_full(error):
            _fail(f"{error}; free some, then run the same command again", EXIT_FAILED)
        if type(error).__name__ != "MlflowException":  # known by name: MLflow is slow to import
            raise
        _fail(error, EXIT_FAILED)
    except BaseException as error:
        if type(error).__name__ != "TerminationSignal":  # SIGTERM in a flow, as Prefect raises it
            raise
        _fail(_GO_ON, EXIT_TERMINATED)


def _fail(message: object, status: int) -> None:
    print(f"emsam: {harmless(' '.join(str(message).split()))}", file=sys.stderr)
    forget_caught_interrupts()
    sys.exit(status)
