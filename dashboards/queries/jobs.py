"""Jobs of this machine, and how one is started through Prefect."""

from __future__ import annotations

from collections import deque

from emsam.errors import InputError, StackFailed
from emsam.launch.jobs import Job, list_jobs
from emsam.params import Params
from emsam.settings import Settings
from emsam.stack.plan import prefect_api
from emsam.stack.prefect_api import PrefectApi
from emsam.stack.web import NotThere
from emsam.train.run_directory import RunDirectory

FINE_TUNE = "fine-tune/"
_ENDED = 20
"""Jobs that are listed although they have ended."""


class PrefectUnreachable(Exception):
    """Prefect gives no answer; the message says where it was looked for and what to do."""


def jobs(settings: Settings) -> list[Job]:
    """Those that run, then the newest of those that have ended."""
    return list_jobs(settings, _ENDED)


def log_tail(name: str, settings: Settings, lines: int) -> str:
    """The last lines that a job printed.

    Raises
    ------
    InputError
        Not the name of a run in ``runs_root``.
    """
    if name not in {path.parent.name for path in settings.runs_root.glob("*/status.json")}:
        raise InputError(f"{name}: no job in {settings.runs_root}")
    log = RunDirectory(settings.runs_root / name).log_file
    try:
        with log.open(errors="replace") as stream:
            return "".join(deque(stream, maxlen=lines))
    except FileNotFoundError:
        return ""


def fine_tune_deployments(settings: Settings) -> list[str]:
    """Deployments that train, such as ``fine-tune/gpu``.

    Raises
    ------
    PrefectUnreachable
        Prefect gives no answer.
    """
    api = prefect_api(settings)
    if not api.is_well():
        raise PrefectUnreachable(_where(api))
    try:
        return sorted(name for name in api.deployments() if name.startswith(FINE_TUNE))
    except (StackFailed, NotThere):
        raise PrefectUnreachable(_where(api)) from None


def start_fine_tune(deployment: str, params: Params, settings: Settings) -> str:
    """Ask Prefect for a run of a deployment; returns the name of the flow run.

    Raises
    ------
    InputError
        The deployment is gone.
    PrefectUnreachable
        Prefect gives no answer.
    """
    api = prefect_api(settings)
    try:
        return api.start(deployment, {"params": params.model_dump(mode="json")})
    except NotThere:
        raise InputError(f"{deployment}: no such deployment any more; see 'emsam up'") from None
    except StackFailed:
        raise PrefectUnreachable(_where(api)) from None


def _where(api: PrefectApi) -> str:
    return (
        f"Prefect does not answer at {api.url}. Start it with 'emsam up', or set PREFECT_API_URL "
        "to where it is; jobs that run already go on, and are shown."
    )
