"""What the pages ask of MLflow and of the run directories; nothing here knows Streamlit.

MLflow says which runs there are; what a run scored is read from its ``scores.json``, which alone
says on which data version and which slices.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from emsam.errors import InputError
from emsam.metrics.score_slice import LOWER_IS_BETTER, PRIMARY
from emsam.params import Task
from emsam.registry.client import open_client
from emsam.registry.models import CHAMPION
from emsam.settings import Settings
from emsam.train.evaluation import read_scores
from emsam.train.run_directory import RunDirectory

MOST_RUNS = 1000
"""Newest runs that are listed."""
MOST_POINTS = 1000
"""Points of one learning curve that are drawn."""
_ABSENT = "RESOURCE_DOES_NOT_EXIST"
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
"""MLflow's own defaults let a page wait four minutes for a server that is away."""


class TrackerUnreachable(Exception):
    """MLflow gives no answer; the message says where it was looked for and what to do."""


@dataclass(frozen=True)
class RunRow:
    """One run as MLflow knows it.

    Attributes
    ----------
    label
        The name, with a part of the id where another run has the same name.
    digest
        Data set version that it was trained on.
    started
        Unix time, ms.
    directory
        Where the run directory was when the run was mirrored; not to be trusted, see
        :func:`local_run`.
    metrics
        Names of the metrics that have a curve or a value.
    """

    run_id: str
    name: str
    label: str
    task: str
    model: str
    data: str
    digest: str
    state: str
    started: int
    directory: str
    params: dict[str, str]
    metrics: tuple[str, ...]


@dataclass(frozen=True)
class Champion:
    """The model in use for a task, as its decision describes it.

    Attributes
    ----------
    score, low, high
        Mean of ``metric`` and its 95 % interval; ``None`` where it is not known.
    data, split, digest
        What it was scored on.
    trained_on
        Data set version of its training.
    since
        Unix time, ms, of the promotion, or else of the registration.
    """

    model: str
    version: str
    run: str
    metric: str
    score: float | None
    low: float | None
    high: float | None
    data: str
    split: str
    digest: str
    trained_on: str
    since: int
    reason: str


# -- runs ---------------------------------------------------------------------------------------


def list_runs(settings: Settings) -> list[RunRow]:
    """Runs of the project's experiment, the newest first.

    Raises
    ------
    TrackerUnreachable
        MLflow gives no answer.
    """
    if _is_unborn(settings):
        return []
    with _tracker(settings) as client:
        experiment = client.get_experiment_by_name(settings.experiment)
        if experiment is None:
            return []
        # the trials of 'emsam tune' are nested in runs and are none themselves
        found = client.search_runs(
            [experiment.experiment_id],
            "tags.`mlflow.parentRunId` IS NULL",
            max_results=MOST_RUNS,
        )
    names = [str(run.info.run_name) for run in found]
    return [_describe(run, twin=names.count(str(run.info.run_name)) > 1) for run in found]


def unmirrored_runs(runs: Sequence[RunRow], settings: Settings) -> list[str]:
    """Folders of runs that are on this machine and not in MLflow."""
    known = {run.directory for run in runs}
    folders = sorted(settings.runs_root.glob("*/inputs.json"))
    return [str(f.parent) for f in folders if str(f.parent.absolute()) not in known]


def local_run(run: RunRow, settings: Settings) -> RunDirectory:
    """The run directory of an MLflow run.

    Raises
    ------
    InputError
        It is not on this machine, or outside ``runs_root``: whoever can write a tag must not
        decide which files are read here.
    """
    if not run.directory:
        raise InputError(f"{run.name}: MLflow has no run directory of it; see MLflow's own pages")
    path = Path(run.directory).resolve()
    if not path.is_relative_to(settings.runs_root.resolve()):
        raise InputError(
            f"{run.name}: its run directory {run.directory} is not below {settings.runs_root}; "
            "start the dashboard with EMSAM_RUNS_ROOT set to the folder that holds it"
        )
    return RunDirectory(path).require()


def local_status(run: RunRow, settings: Settings) -> dict[str, Any]:
    """``status.json`` of a run; empty where its directory cannot be read here."""
    try:
        return local_run(run, settings).status()
    except (InputError, OSError, ValueError):
        return {}


def _describe(run: Run, twin: bool) -> RunRow:
    tags, name = run.data.tags, str(run.info.run_name)
    return RunRow(
        run_id=str(run.info.run_id),
        name=name,
        label=f"{name} ({run.info.run_id[:6]})" if twin else name,
        task=tags.get("emsam.task", ""),
        model=tags.get("emsam.model", ""),
        data=tags.get("emsam.data", ""),
        digest=tags.get("emsam.data_digest", ""),
        state=tags.get("emsam.state", str(run.info.status).lower()),
        started=int(run.info.start_time),
        directory=tags.get("emsam.run_directory", ""),
        params=dict(run.data.params),
        metrics=tuple(sorted(run.data.metrics)),
    )


# -- scores, curves, parameters -----------------------------------------------------------------


def score_sets(run: RunRow, settings: Settings) -> list[dict[str, Any]]:
    """Entries of ``scores.json``: from the run directory, else from its mirror in MLflow.

    Raises
    ------
    InputError
        The file is damaged.
    TrackerUnreachable
        MLflow gives no answer.
    """
    try:
        folder = local_run(run, settings)
    except InputError:
        return _mirrored_sets(run, settings)
    return _read_sets(folder)


def find_set(sets: Sequence[dict[str, Any]], **wanted: str) -> dict[str, Any] | None:
    """The first entry with these fields, such as ``data``, ``digest`` and ``split``."""
    return next((s for s in sets if all(s[k] == v for k, v in wanted.items())), None)


def best_runs(means: dict[str, float | None], metric: str) -> set[str]:
    """The runs with the best mean, all of them in a tie; nobody is best of fewer than two."""
    known = {run: mean for run, mean in means.items() if mean is not None}
    if len(known) < 2:
        return set()
    choose = min if metric in LOWER_IS_BETTER else max
    return {run for run, mean in known.items() if mean == choose(known.values())}


def learning_curve(run_id: str, metric: str, settings: Settings) -> tuple[list[int], list[float]]:
    """Steps and values of a metric, thinned out to at most :data:`MOST_POINTS`.

    Raises
    ------
    TrackerUnreachable
        MLflow gives no answer.
    """
    with _tracker(settings) as client:
        history = client.get_metric_history(run_id, metric)
    by_step = dict(sorted((point.step, point.value) for point in history))
    stride = max(1, math.ceil(len(by_step) / MOST_POINTS))
    return list(by_step)[::stride], list(by_step.values())[::stride]


def differing_params(runs: Sequence[RunRow]) -> dict[str, list[str]]:
    """Parameters that are not the same in all runs: a value for each run, ``""`` for none."""
    keys = sorted({key for run in runs for key in run.params})
    table = {key: [run.params.get(key, "") for run in runs] for key in keys}
    return {key: values for key, values in table.items() if len(set(values)) > 1}


def _read_sets(run: RunDirectory) -> list[dict[str, Any]]:
    try:
        return list(read_scores(run)["sets"])
    except (ValueError, KeyError, TypeError):
        raise InputError(
            f"{run.scores_file}: damaged; remove it and run 'emsam evaluate {run.path}' again"
        ) from None


def _mirrored_sets(run: RunRow, settings: Settings) -> list[dict[str, Any]]:
    with _tracker(settings) as client, tempfile.TemporaryDirectory() as folder:
        if "scores.json" not in {each.path for each in client.list_artifacts(run.run_id)}:
            return []
        client.download_artifacts(run.run_id, "scores.json", folder)
        return _read_sets(RunDirectory(Path(folder)))


# -- champions ----------------------------------------------------------------------------------


def find_champion(task: Task, settings: Settings) -> Champion | None:
    """The champion of a task, if there is one.

    Raises
    ------
    TrackerUnreachable
        MLflow gives no answer.
    """
    if _is_unborn(settings):
        return None
    name = settings.model_name(task)
    with _tracker(settings) as client:
        try:
            version = client.get_registered_model(name).aliases.get(CHAMPION)
        except MlflowException as error:
            if error.error_code != _ABSENT:
                raise
            return None
        if version is None:
            return None
        found = client.get_model_version(name, str(version))
        run = _describe(client.get_run(str(found.run_id)), twin=False)
    return _describe_champion(found, task, score_sets(run, settings))


def _describe_champion(found: ModelVersion, task: Task, sets: list[dict[str, Any]]) -> Champion:
    decision = _decision(found)
    metric = decision.get("metric", PRIMARY[task])
    wanted = {key: decision[key] for key in ("data", "digest", "split") if key in decision}
    entry = find_set(sets, **(wanted or {"split": "test"})) or {}
    mean = next((m for m in entry.get("means", ()) if m["metric"] == metric), {})
    score = decision.get("candidate_score", mean.get("mean"))
    # The run may have been trained on or tuned since: its interval is then another model's.
    same = score is not None and mean and math.isclose(score, mean["mean"] or 0, abs_tol=5e-5)
    return Champion(
        model=found.name,
        version=str(found.version),
        run=found.tags.get("emsam.run", ""),
        metric=metric,
        score=score,
        low=mean["low"] if same else None,
        high=mean["high"] if same else None,
        data=decision.get("data", entry.get("data", "")),
        split=decision.get("split", entry.get("split", "")),
        digest=decision.get("digest", entry.get("digest", "")),
        trained_on=found.tags.get("emsam.data_digest", ""),
        since=int(found.tags.get("emsam.promoted_at", found.creation_timestamp)),
        reason=decision.get("reason", "the alias was set by hand, without a decision"),
    )


def _decision(found: ModelVersion) -> dict[str, Any]:
    try:
        return dict(json.loads(found.tags.get("emsam.decision", "{}")))
    except (ValueError, TypeError):
        return {"reason": "its decision cannot be read"}


# -- reaching MLflow ----------------------------------------------------------------------------


def tracker_address(settings: Settings) -> str:
    """Where MLflow is, without user and password."""
    uri = settings.tracking_uri
    parts = urlsplit(uri)
    return uri.replace(parts.netloc, parts.netloc.rpartition("@")[2]) if parts.netloc else uri


def _is_unborn(settings: Settings) -> bool:
    """Whether the SQLite file is still to be made: a page that only reads leaves that to a run."""
    uri = settings.tracking_uri
    return uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists()


@contextmanager
def _tracker(settings: Settings) -> Iterator[MlflowClient]:
    for name, value in _PATIENCE.items():
        os.environ.setdefault(name, value)
    try:
        yield open_client(settings)
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise TrackerUnreachable(
            f"MLflow does not answer at {tracker_address(settings)}. Start it, or set "
            "EMSAM_MLFLOW_URI to where it is, and reload this page."
        ) from error
