"""The model in use for a task, as its decision and the ledger describe it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from dashboards.queries.registry import newest_entry
from dashboards.queries.runs import describe_run, find_set, score_sets
from dashboards.queries.tracker import is_unborn, tracker
from emsam.metrics.variants import PRIMARY
from emsam.params import Task
from emsam.registry.ledger import Entry
from emsam.registry.models import ABSENT, CHAMPION
from emsam.settings import Settings


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
    since, by
        Unix time, ms, of the promotion, or else of the registration; and whose it was.
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
    by: str
    reason: str


def find_champion(task: Task, settings: Settings) -> Champion | None:
    """The champion of a task, if there is one.

    Raises
    ------
    TrackerUnreachable
        MLflow gives no answer.
    """
    if is_unborn(settings):
        return None
    name = settings.model_name(task)
    with tracker(settings) as client:
        try:
            version = client.get_registered_model(name).aliases.get(CHAMPION)
        except MlflowException as error:
            if error.error_code not in ABSENT:
                raise
            return None
        if version is None:
            return None
        found = client.get_model_version(name, str(version))
        run = describe_run(client.get_run(str(found.run_id)), twin=False)
    return _describe(found, task, score_sets(run, settings), newest_entry(name, settings))


def _describe(
    found: ModelVersion, task: Task, sets: list[dict[str, Any]], moved: Entry | None
) -> Champion:
    decision = _decision(found)
    metric = decision.get("metric", PRIMARY[task])
    wanted = {key: decision[key] for key in ("data", "digest", "split") if key in decision}
    entry = find_set(sets, **(wanted or {"split": "test"})) or {}
    mean = next((m for m in entry.get("means", ()) if m["metric"] == metric), {})
    score = decision.get("candidate_score", mean.get("mean"))
    judged = next((m for m in decision.get("metrics", ()) if m["metric"] == metric), {})
    low, high = judged.get("candidate_low"), judged.get("candidate_high")
    # The run may have been trained on or tuned since: its interval is then another model's.
    known = low is None and score is not None and mean.get("mean") is not None
    if known and math.isclose(score, mean["mean"], abs_tol=5e-5):
        low, high = mean["low"], mean["high"]
    return Champion(
        model=found.name,
        version=str(found.version),
        run=found.tags.get("emsam.run", ""),
        metric=metric,
        score=score,
        low=low,
        high=high,
        data=decision.get("data", entry.get("data", "")),
        split=decision.get("split", entry.get("split", "")),
        digest=decision.get("digest", entry.get("digest", "")),
        trained_on=found.tags.get("emsam.data_digest", ""),
        since=int(found.tags.get("emsam.promoted_at", found.creation_timestamp)),
        by=moved.by if moved and str(moved.to_version) == str(found.version) else "",
        reason=decision.get("reason", "the alias was set by hand, without a decision"),
    )


def _decision(found: ModelVersion) -> dict[str, Any]:
    try:
        return dict(json.loads(found.tags.get("emsam.decision", "{}")))
    except (ValueError, TypeError):
        return {"reason": "its decision cannot be read"}
