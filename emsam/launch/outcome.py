"""What the end of a trainer means: for the status of its run, and for whoever waits for it."""

from __future__ import annotations

import signal
from typing import Any

from emsam.documents import last_line
from emsam.errors import InputError, TrainingFailed, TrainingStopped
from emsam.train.run_directory import FAILED, STOPPED, RunDirectory
from emsam.train.stop import EXIT_BAD_INPUT, EXIT_STOPPED


def settle(run: RunDirectory, code: int | None, reason: str) -> None:
    """Write what the trainer could not say itself, and raise what its exit status means.

    Parameters
    ----------
    code
        Its exit status, negative where a signal ended it; ``None`` where nobody could see it.
    reason
        Why it was ended, if it was.

    Raises
    ------
    TrainingStopped, TrainingFailed, InputError
        The last for input that the trainer refused.
    """
    if code == EXIT_STOPPED or code in (-signal.SIGTERM, -signal.SIGINT):
        # by a bare signal it ends only where nothing was trained yet
        _correct(run, STOPPED)
        why = f" ({reason})" if reason else ""
        raise TrainingStopped(f"{run.path}: stopped at step {run.status()['step']}{why}; {_GO_ON}")
    if code == EXIT_BAD_INPUT:
        raise InputError(_cause(run, code, reason).removeprefix("emsam: "))
    if code != 0:
        cause = _cause(run, code, reason)
        _correct(run, FAILED, error=cause)
        raise TrainingFailed(
            f"{run.path}: training failed ({cause}); see {run.log_file}; {_where_to_go_on(run)}"
        )


_GO_ON = "run the same command again to go on from there"


def _where_to_go_on(run: RunDirectory) -> str:
    checkpoint = run.newest_checkpoint()
    if checkpoint is None:
        return "the same command begins anew"
    step = int(checkpoint.name.removeprefix("step-"))
    return f"the same command goes on from step {step}"


def _correct(run: RunDirectory, state: str, **more: Any) -> None:
    if run.status()["state"] != state or more:
        run.update_status(state=state, **more)


def _cause(run: RunDirectory, code: int | None, reason: str) -> str:
    if code is None:
        return reason
    if code < 0:
        killed = f"killed by {signal.Signals(-code).name}"
        return f"{reason}; {killed}" if reason else killed
    said = run.status()
    if said["state"] == FAILED and said.get("error"):
        return " ".join(str(said["error"]).split())
    return last_line(run.log_file) or f"exit status {code}"
