"""Runs: MLflow says which there are and what their means are, for hundreds of them at once.

The scores of single slices are read from a run's ``scores.json``, for a few runs at a time.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mlflow.entities import Run

from dashboards.queries.tracker import is_unborn, tracker
from emsam.errors import InputError
from emsam.metrics.variants import LOWER_IS_BETTER
from emsam.registry.tracking import SCORED, SECONDS
from emsam.settings import Settings
from emsam.train.evaluation import read_scores
from emsam.train.run_directory import RunDirectory

MOST_RUNS = 1000
"""Newest runs that are listed."""
MOST_POINTS = 1000
"""Points of one learning curve that are drawn."""
_OUR_TAGS = ("mlflow.", "emsam.")
_MEMORY = ("system/gpu_process_peak_memory_megabytes", "system/process_memory_megabytes")


class ScoredSet(NamedTuple):
    """Slices that runs were scored on; ``digest`` is the data set version."""

    data: str
    split: str
    digest: str


class Mean(NamedTuple):
    """Mean of a metric over slices, with its 95 % interval where it is known."""

    mean: float
    low: float | None
    high: float | None


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
    tags
        What people tagged it with in MLflow.
    values
        Newest value of each metric.
    scored
        Data set version by ``data.split`` that it was scored on.
    minutes
        Of training; ``None`` where MLflow was not told.
    """

    run_id: str
    experiment: str
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
    tags: dict[str, str]
    values: dict[str, float]
    scored: dict[str, str]
    minutes: float | None

    @property
    def memory(self) -> float | None:
        """MB of the GPU, or of the process where it trained without one."""
        return next((self.values[name] for name in _MEMORY if name in self.values), None)

    def scores(self) -> dict[ScoredSet, dict[str, Mean]]:
        """Means by what they were scored on and metric variant."""
        found: dict[ScoredSet, dict[str, Mean]] = {}
        for place, digest in self.scored.items():
            data, _, split = place.rpartition(".")
            prefix = f"{data}/{split}/"
            means = {
                key.removeprefix(prefix): Mean(
                    value, self.values.get(f"{key}_low"), self.values.get(f"{key}_high")
                )
                for key, value in self.values.items()
                if key.startswith(prefix) and not key.endswith(("_low", "_high"))
            }
            found[ScoredSet(data, split, digest)] = means
        return found


# -- runs ---------------------------------------------------------------------------------------


def list_runs(settings: Settings) -> list[RunRow]:
    """Runs of the project's experiment, the newest first.

    Raises
    ------
    TrackerUnreachable
        MLflow gives no answer.
    """
    if is_unborn(settings):
        return []
    with tracker(settings) as client:
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
    return [describe_run(run, twin=names.count(str(run.info.run_name)) > 1) for run in found]


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


def describe_run(run: Run, twin: bool) -> RunRow:
    tags, name = run.data.tags, str(run.info.run_name)
    return RunRow(
        run_id=str(run.info.run_id),
        experiment=str(run.info.experiment_id),
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
        tags={k: v for k, v in tags.items() if not k.startswith(_OUR_TAGS)},
        values=dict(run.data.metrics),
        scored={k.removeprefix(SCORED): v for k, v in tags.items() if k.startswith(SCORED)},
        minutes=float(tags[SECONDS]) / 60 if SECONDS in tags else None,
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


class Curve(NamedTuple):
    """A metric over the steps; ``minutes`` of training at each."""

    steps: list[int]
    minutes: list[float]
    values: list[float]


def learning_curve(run_id: str, metric: str, settings: Settings) -> Curve:
    """A metric's history, thinned out to at most :data:`MOST_POINTS`.

    Raises
    ------
    TrackerUnreachable
        MLflow gives no answer.
    """
    with tracker(settings) as client:
        history = client.get_metric_history(run_id, metric)
        began = client.get_run(run_id).info.start_time
    by_step = {point.step: point for point in sorted(history, key=lambda each: each.step)}
    points = list(by_step.values())[:: max(1, math.ceil(len(by_step) / MOST_POINTS))]
    return Curve(
        [point.step for point in points],
        [(point.timestamp - began) / 60_000 for point in points],
        [point.value for point in points],
    )


def smoothed(values: Sequence[float], amount: float) -> list[float]:
    """Exponential moving average; ``amount`` in [0, 1) is the weight of the past, 0 changes
    nothing. The first values are corrected for the missing past."""
    smooth, total, weight = [], 0.0, 0.0
    for value in values:
        total = amount * total + (1 - amount) * value
        weight = amount * weight + (1 - amount)
        smooth.append(total / weight)
    return smooth


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
    with tracker(settings) as client, tempfile.TemporaryDirectory() as folder:
        if "scores.json" not in {each.path for each in client.list_artifacts(run.run_id)}:
            return []
        client.download_artifacts(run.run_id, "scores.json", folder)
        return _read_sets(RunDirectory(Path(folder)))
