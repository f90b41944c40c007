"""Mirrors a run directory into MLflow.

The directory is the truth and the mirror is idempotent: it goes on from a remembered offset of
``metrics.jsonl`` and finds the MLflow run by the job's key, so nothing is lost while a tracker is
away and nothing is written twice.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunInfo, RunTag
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from emsam.documents import write_whole
from emsam.locks import hold_lock
from emsam.params import flatten
from emsam.registry.client import experiment_id, open_client
from emsam.settings import Settings
from emsam.train.run_directory import ACTIVE, DONE, FAILED, NEW, RunDirectory

SCORED = "emsam.scored."
"""Tag ``emsam.scored.<data>.<split>``: the data set version of a run's scores on a split."""
SECONDS = "emsam.seconds"
"""Tag: time that a run was trained."""
_TRIAL = "emsam.trial"
"""Tag of a nested run: the trial that it is."""
_BATCH = 900
"""Metrics of one request; MLflow takes 1000."""
_STATUS = {DONE: "FINISHED", FAILED: "FAILED"} | dict.fromkeys((NEW, *ACTIVE), "RUNNING")


def sync_run(run: RunDirectory, settings: Settings) -> str:
    """Bring MLflow up to what the run directory holds; returns the MLflow run id."""
    client = open_client(settings)
    with hold_lock(run.path / ".mlflow.lock"):
        run_id = _sync_progress(client, run, settings)
        _sync_scores(client, run, run_id)
        _sync_trials(client, run, run_id)
        _sync_files(client, run, run_id, settings)
    return run_id


def sync_progress(run: RunDirectory, settings: Settings) -> str:
    """As :func:`sync_run`, but only what changes while a run is trained: metrics and state."""
    client = open_client(settings)
    with hold_lock(run.path / ".mlflow.lock"):  # else two could make a run each
        return _sync_progress(client, run, settings)


def _sync_progress(client: MlflowClient, run: RunDirectory, settings: Settings) -> str:
    run_id = _find_or_create(client, run, settings)
    _describe(client, run, run_id)
    _sync_metrics(client, run, run_id)
    status = run.status()
    state = status["state"]
    tags = {"emsam.state": state, SECONDS: str(status.get("seconds", 0.0))}
    client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])
    client.update_run(run_id, status=_STATUS.get(state, "KILLED"))
    return run_id


def find_run(client: MlflowClient, run: RunDirectory, settings: Settings) -> str | None:
    """MLflow run id of a run directory, if it was mirrored."""
    found = _runs_of(client, run, settings)
    return found[0] if found else None


def _runs_of(client: MlflowClient, run: RunDirectory, settings: Settings) -> list[str]:
    """Ids of the MLflow runs with the key of a run directory, the one that counts first."""
    found = client.search_runs(
        [experiment_id(client, settings)],
        f"tags.`emsam.key` = '{run.inputs()['id']}'",
        order_by=["attributes.start_time ASC", "attributes.run_id ASC"],
    )
    return [str(each.info.run_id) for each in found]


def running_runs(settings: Settings) -> list[tuple[str, Path, str]]:
    """MLflow runs of ours that are RUNNING: name, run directory, and the id in its inputs."""
    client = open_client(settings)
    found = client.search_runs(
        [experiment_id(client, settings)],
        "attributes.status = 'RUNNING' and tags.`emsam.key` LIKE '%'",
        max_results=10_000,
    )
    return [
        (str(run.info.run_name), Path(run.data.tags["emsam.run_directory"]), tags["emsam.key"])
        for run in found
        if (tags := run.data.tags)
    ]


def _find_or_create(client: MlflowClient, run: RunDirectory, settings: Settings) -> str:
    if not (known := _runs_of(client, run, settings)):
        _create(client, run, settings)
        known = _runs_of(client, run, settings)
    for other in known[1:]:
        # a request whose answer was lost, as when the server is killed, is sent again by MLflow's
        # client, which makes two of them
        client.delete_run(other)
    return known[0]


def _create(client: MlflowClient, run: RunDirectory, settings: Settings) -> None:
    inputs, params = run.inputs(), run.params()
    tags = {
        "emsam.key": inputs["id"],
        "emsam.run_directory": str(run.path.absolute()),
        "emsam.task": params.task,
        "emsam.model": params.model.name,
        "emsam.data": inputs["data"][0]["name"],
        "emsam.data_digest": inputs["data"][0]["digest"],
        "mlflow.source.git.commit": inputs["git"]["commit"] or "",
    }
    client.create_run(experiment_id(client, settings), tags=tags, run_name=run.name)


def _describe(client: MlflowClient, run: RunDirectory, run_id: str) -> None:
    """Parameters, packages, hardware and data, once; post-processing, as it is now, each time."""
    params, inputs = run.params(), run.inputs()
    judging = params.model_dump(mode="json", include={"segment", "evaluate"})
    client.log_batch(run_id, tags=[RunTag(k, json.dumps(v)) for k, v in flatten(judging).items()])
    if "emsam.described" in client.get_run(run_id).data.tags:
        return
    values = [Param(k, json.dumps(v)) for k, v in flatten(params.training_part()).items()]
    tags = [RunTag(f"package.{name}", value) for name, value in inputs["packages"].items()]
    tags += [RunTag(f"hardware.{k}", json.dumps(v)) for k, v in inputs["hardware"].items()]
    tags += [RunTag("git.dirty", str(inputs["git"]["dirty"]).lower())]
    if "weights" in inputs:
        tags += [RunTag("emsam.pretrained_sha256", inputs["weights"]["sha256"])]
    client.log_batch(run_id, params=values, tags=tags)
    _log_inputs(client, run_id, [_dataset(data) for data in inputs["data"]])
    client.set_tag(run_id, "emsam.described", "true")


def _log_inputs(client: MlflowClient, run_id: str, found: list[DatasetInput]) -> None:
    try:
        client.log_inputs(run_id, found)
    except MlflowException as error:
        if "unique constraint" not in str(error).lower():
            raise
        # two runs name a data set that MLflow did not know at the same moment; now it does
        client.log_inputs(run_id, found)


def _dataset(data: dict[str, Any]) -> DatasetInput:
    dataset = Dataset(
        name=data["name"],
        digest=data["digest"],
        source_type="local",
        source=json.dumps({"uri": data["path"]}),
        profile=json.dumps({"shape": data["shape"], "splits": data["splits"]}),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])


def _sync_metrics(client: MlflowClient, run: RunDirectory, run_id: str) -> None:
    """Whole lines behind the remembered offset."""
    if not run.metrics_file.exists():
        return
    memory = _Memory(run)
    content = run.metrics_file.read_bytes()
    end = content.rfind(b"\n") + 1
    lines = content[memory.offset(run_id) : end].splitlines()
    began = client.get_run(run_id).info.start_time  # the same each time: a repeat changes nothing
    metrics = []
    for text in lines:
        line = json.loads(text)
        at = began + int(line["seconds"] * 1000)
        metrics += [
            Metric(key, value, at, line["step"])
            for key, value in line.items()
            if "/" in key and value is not None
        ]
    for start in range(0, len(metrics), _BATCH):
        client.log_batch(run_id, metrics=metrics[start : start + _BATCH])
    memory.remember(run_id, end)


def _sync_scores(client: MlflowClient, run: RunDirectory, run_id: str) -> None:
    """Means as metrics ``<data>/<split>/<metric>``, with ``_low`` and ``_high``."""
    if not run.scores_file.exists():
        return
    scores = json.loads(run.scores_file.read_text())
    described = client.get_run(run_id).data
    known = described.metrics
    at = run.scores_file.stat().st_mtime_ns // 1_000_000
    metrics, tags = [], []
    for entry in scores["sets"]:
        tags.append(RunTag(f"{SCORED}{entry['data']}.{entry['split']}", entry["digest"]))
        for mean in entry["means"]:
            name = f"{entry['data']}/{entry['split']}/{mean['metric']}"
            for key, value in ((name, "mean"), (f"{name}_low", "low"), (f"{name}_high", "high")):
                if mean[value] is not None and known.get(key) != mean[value]:
                    metrics.append(Metric(key, mean[value], at, entry["step"]))
    if metrics or any(described.tags.get(tag.key) != tag.value for tag in tags):
        client.log_batch(run_id, metrics=metrics, tags=tags)


def _sync_trials(client: MlflowClient, run: RunDirectory, run_id: str) -> None:
    """Each trial of ``tuning.jsonl`` as a run nested in the run, with its settings and score."""
    memory = _Memory(run)
    trials = run.trials()
    new = trials[memory.trials(run_id) :]
    if not new:
        return
    parent = client.get_run(run_id).info
    known = {each.data.tags.get(_TRIAL) for each in _nested(client, parent)}
    for line in new:
        identity = f"{line['study']}/{line['trial']}"
        if identity not in known:
            _log_trial(client, parent, line, identity)
    for each in _nested(client, parent):
        tags = each.data.tags  # somebody may nest runs of their own in ours
        if "emsam.data" in tags and _TRIAL not in tags:  # was cut short, or its answer was lost
            client.delete_run(each.info.run_id)
    memory.remember_trials(run_id, len(trials))


def _nested(client: MlflowClient, parent: RunInfo) -> list[Run]:
    wanted = f"tags.`mlflow.parentRunId` = '{parent.run_id}'"
    return list(client.search_runs([parent.experiment_id], wanted, max_results=10_000))


def _log_trial(client: MlflowClient, parent: RunInfo, line: dict[str, Any], identity: str) -> None:
    """The tag that marks a trial as known comes last: what was cut short is logged again."""
    tags = {"mlflow.parentRunId": parent.run_id, "emsam.data": line["data"]}
    name = f"{parent.run_name} trial {line['trial']}"
    run_id = client.create_run(parent.experiment_id, tags=tags, run_name=name).info.run_id
    client.log_batch(
        run_id,
        metrics=[Metric(f"tuning/{line['metric']}", line["value"], line["at"], line["trial"])],
        params=[Param(f"segment.{k}", json.dumps(v)) for k, v in line["segment"].items()],
        tags=[RunTag(_TRIAL, identity)],
    )
    client.set_terminated(run_id)


def _sync_files(client: MlflowClient, run: RunDirectory, run_id: str, settings: Settings) -> None:
    """Files of the run, each once; of the checkpoints the newest and the best, and no others."""
    memory = _Memory(run)
    files = [run.params_file, run.inputs_file, run.metrics_file, run.scores_file, run.log_file]
    files += [run.tuned_file, run.trials_file]
    files += sorted(run.figures.glob("*.png"))
    checkpoints = [each for each in (run.newest_checkpoint(), run.best_checkpoint()) if each]
    for folder in checkpoints:
        files += sorted(folder.iterdir())
    for path in files:
        if path.exists() and memory.is_new(run_id, path):
            place = path.parent.relative_to(run.path).as_posix()
            client.log_artifact(run_id, str(path), None if place == "." else place)
            memory.remember_file(run_id, path)
    kept = {each.name for each in checkpoints}
    if kept:  # a run whose checkpoints are gone here keeps those there
        _drop_checkpoints(client, run_id, kept, settings)


def _drop_checkpoints(
    client: MlflowClient, run_id: str, kept: set[str], settings: Settings
) -> None:
    """Remove checkpoints from MLflow that are neither the newest nor the best any more."""
    there = client.list_artifacts(run_id, "checkpoints")
    old = [each.path for each in there if Path(each.path).name not in kept]
    if old:
        root = client.get_run(run_id).info.artifact_uri
        store = get_artifact_repository(root, tracking_uri=settings.tracking_uri)
        for path in old:
            store.delete_artifacts(path)  # type: ignore[no-untyped-call]


class _Memory:
    """What was mirrored already; kept in the run directory, apart for each MLflow run."""

    def __init__(self, run: RunDirectory) -> None:
        self._root = run.path
        self._file = run.path / ".mlflow.json"
        self._known: dict[str, Any] = {}
        if self._file.exists():
            self._known = json.loads(self._file.read_text())

    def offset(self, run_id: str) -> int:
        return int(self._known.get(run_id, {}).get("offset", 0))

    def remember(self, run_id: str, offset: int) -> None:
        self._known.setdefault(run_id, {})["offset"] = offset
        self._write()

    def trials(self, run_id: str) -> int:
        return int(self._known.get(run_id, {}).get("trials", 0))

    def remember_trials(self, run_id: str, count: int) -> None:
        self._known.setdefault(run_id, {})["trials"] = count
        self._write()

    def is_new(self, run_id: str, path: Path) -> bool:
        files = self._known.get(run_id, {}).get("files", {})
        return bool(files.get(self._name(path)) != self._stamp(path))

    def remember_file(self, run_id: str, path: Path) -> None:
        files = self._known.setdefault(run_id, {}).setdefault("files", {})
        files[self._name(path)] = self._stamp(path)
        self._write()

    def _name(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix()

    def _stamp(self, path: Path) -> list[int]:
        status = path.stat()
        return [status.st_size, status.st_mtime_ns]

    def _write(self) -> None:
        write_whole(self._file, json.dumps(self._known))
