"""Whether all that a soak left says the same."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import socket
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from mlflow import MlflowClient

from emsam import versioning
from emsam.data.digest import folder_digest
from emsam.data.store import Volume
from emsam.processes import is_alive
from emsam.registry.client import open_client
from emsam.registry.database import Database
from emsam.registry.decisions import recorded_text
from emsam.registry.ledger import Ledger
from emsam.registry.models import CHAMPION, PREVIOUS
from emsam.registry.promotion import check_package
from emsam.registry.verdict import PROMOTE
from emsam.settings import Settings
from emsam.train.run_directory import DONE, RunDirectory
from tests.processes import words_of
from tests.soak.jobs import TASKS, Job, Office
from tests.soak.lab import SoakLab

Finding = tuple[int, list[str]]
"""How many things were looked at, and what is wrong, in words."""
_LEASE = 100.0
"""Seconds in which Prefect frees the slot of a flow that was killed."""


def audit(lab: SoakLab, office: Office) -> dict[str, dict[str, Any]]:
    """Every check while the stack runs, by name: ``checked`` and ``wrong``."""
    settings = lab.settings
    with contextlib.chdir(lab.path):
        client = open_client(settings)
        runs = {job.number: _run_of(job, settings) for job in office.jobs}
        found = {
            "jobs are finished": _guard(lambda: jobs_finished(office)),
            "run directories are whole": _guard(lambda: run_directories(office, runs)),
            "MLflow has each step once and every score": _guard(
                lambda: mirrors(client, office, runs)
            ),
            "each run is one model version, and was judged": _guard(
                lambda: model_versions(client, office, runs, settings)
            ),
            "one champion per model, as the ledger says": _guard(
                lambda: champions(client, lab, settings)
            ),
            "data set versions are whole on the remote": _guard(lambda: data_versions(lab)),
            "no run is active in Prefect without a process": _guard(lambda: flow_runs(lab)),
            "no slot is held in Prefect": _guard(lambda: prefect_slots(lab)),
            "no file is locked": _guard(lambda: file_locks(lab)),
            "nothing half-written is left": _guard(lambda: leftovers(lab)),
            "reconcile finds nothing": _guard(lambda: reconciled(lab)),
        }
    return {name: {"checked": count, "wrong": wrong} for name, (count, wrong) in found.items()}


def _guard(check: Callable[[], Finding]) -> Finding:
    """A check that cannot be made is a disagreement too; the others go on."""
    try:
        return check()
    except Exception as error:
        return 0, [f"cannot be checked: {type(error).__name__}: {str(error)[:500]}"]


def jobs_finished(office: Office) -> Finding:
    wrong = [
        f"job {job.number}: {job.ends[-1] if job.ends else 'no end'} after "
        f"{len(job.flow_runs)} tries"
        for job in office.unfinished
    ]
    return len(office.jobs), wrong + [f"flow run {each} is gone" for each in office.lost]


def _run_of(job: Job, settings: Settings) -> RunDirectory | None:
    """The run directory whose parameters are the job's."""
    for file in settings.runs_root.glob("*/params.yaml"):
        run = RunDirectory(file.parent)
        if run.exists() and run.params().training_part() == job.params.training_part():
            return run
    return None


def run_directories(office: Office, runs: dict[int, RunDirectory | None]) -> Finding:
    """Each step once, a whole checkpoint at the end, scores of every slice of the test split."""
    wrong = []
    for job in office.jobs:
        run = runs[job.number]
        if run is None:
            wrong.append(f"job {job.number}: no run directory")
            continue
        steps = [line["step"] for line in run.metrics() if "train/loss" in line]
        if steps != list(range(1, job.params.train.steps + 1)):
            wrong.append(f"{run.name}: steps {steps}")
        if run.status()["state"] != DONE or not run.is_done():
            wrong.append(f"{run.name}: {run.status()}")
        wrong += [f"{run.name}: {each}" for each in _missing_scores(job, run)]
    names = {run.path for run in runs.values() if run}
    all_of_them = {path.parent for path in run_root(office).glob("*/inputs.json")}
    wrong += [f"{path}: of no job" for path in all_of_them - names]
    return len(office.jobs), wrong


def run_root(office: Office) -> Path:
    return office.lab.settings.runs_root


def _missing_scores(job: Job, run: RunDirectory) -> list[str]:
    if not run.scores_file.exists():
        return ["no scores"]
    volume = Volume(office_volume(job, run))
    wanted = set(volume.slices("test", job.params.task))
    sets = json.loads(run.scores_file.read_text())["sets"]
    for entry in sets:
        if entry["split"] == "test" and entry["data"] == job.params.data.name:
            found = {row["z"] for row in entry["rows"]}
            return [] if found == wanted and entry["means"] else [f"scores of {found} of {wanted}"]
    return ["no scores of the test split"]


def office_volume(job: Job, run: RunDirectory) -> Path:
    """The volume beside the run directories."""
    return run.path.parent.parent / "data" / job.params.data.name / "volume.zarr"


def mirrors(client: MlflowClient, office: Office, runs: dict[int, RunDirectory | None]) -> Finding:
    """MLflow's runs beside the run directories: one each, ended, with the same numbers."""
    experiment = client.get_experiment_by_name("emsam")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], max_results=10_000)
    by_key: dict[str, list[Any]] = {}
    for each in found:
        by_key.setdefault(each.data.tags.get("emsam.key", ""), []).append(each)
    wrong, points = [], 0
    for run in filter(None, runs.values()):
        mine = by_key.pop(run.inputs()["id"], [])
        if len(mine) != 1:
            wrong.append(f"{run.name}: {len(mine)} runs in MLflow")
            continue
        count, said = _mirror(client, run, mine[0])
        points += count
        wrong += [f"{run.name}: {each}" for each in said]
    wrong += [f"{len(left)} runs in MLflow of key {key!r}" for key, left in by_key.items()]
    return points, wrong


def _mirror(client: MlflowClient, run: RunDirectory, mirrored: Any) -> Finding:
    run_id, wrong, points = mirrored.info.run_id, [], 0
    if (mirrored.info.status, mirrored.data.tags.get("emsam.state")) != ("FINISHED", DONE):
        wrong.append(f"{mirrored.info.status}, {mirrored.data.tags.get('emsam.state')}")
    here: dict[str, list[tuple[int, float]]] = {}
    for line in run.metrics():
        for key, value in line.items():
            if "/" in key and value is not None:
                here.setdefault(key, []).append((line["step"], value))
    for key, rows in here.items():
        there = [(each.step, each.value) for each in client.get_metric_history(run_id, key)]
        points += len(there)
        if sorted(there) != sorted(rows):
            wrong.append(f"{key}: {len(there)} points in MLflow, {len(rows)} in the directory")
    scores = json.loads(run.scores_file.read_text()) if run.scores_file.exists() else {"sets": []}
    for entry in scores["sets"]:
        for mean in entry["means"]:
            key = f"{entry['data']}/{entry['split']}/{mean['metric']}"
            points += 1
            if mean["mean"] is not None and mirrored.data.metrics.get(key) != mean["mean"]:
                wrong.append(f"{key}: {mirrored.data.metrics.get(key)} instead of {mean['mean']}")
    listed = client.list_artifacts(run_id, "checkpoints")
    folders = {each.path.rpartition("/")[2] for each in listed}
    kept = [each for each in (run.newest_checkpoint(), run.best_checkpoint()) if each]
    if missing := {each.name for each in kept} - folders:
        wrong.append(f"{missing} not in MLflow")
    return points, wrong


def model_versions(
    client: MlflowClient, office: Office, runs: dict[int, RunDirectory | None], settings: Settings
) -> Finding:
    """Every job's model is registered once, and its decision is in the ledger's database."""
    wrong, database, count = [], Database(settings), 0
    for task in TASKS:
        name = settings.model_name(task)
        versions = list(client.search_model_versions(f"name = '{name}'", max_results=10_000))
        count += len(versions)
        names = Counter(each.tags.get("emsam.run") for each in versions)
        mine = [job for job in office.jobs if job.params.task == task]
        for job in mine:
            run = runs[job.number]
            if run is not None and names.pop(run.name, 0) != 1:
                wrong.append(f"{name}: {run.name} is registered more than once, or not")
        wrong += [f"{name}: version of {run}, which is of no job" for run in names]
        for version in versions:
            if not (sha256 := version.tags.get("emsam.decision_sha256")):
                if CHAMPION not in client.get_model_version(name, version.version).aliases:
                    wrong.append(f"{name}/{version.version}: was never judged")
            elif recorded_text(database, sha256) is None:
                wrong.append(f"{name}/{version.version}: decision {sha256} is lost")
    return count, wrong


def champions(client: MlflowClient, lab: SoakLab, settings: Settings) -> Finding:
    """Alias and ledger agree, ``registry verify`` is content, the package is as registered."""
    wrong, ledger, count = [], Ledger(Database(settings)), 0
    for task in TASKS:
        name = settings.model_name(task)
        rows = ledger.entries(name)
        count += len(rows)
        aliases = dict(client.get_registered_model(name).aliases)
        said = {CHAMPION: rows[-1].to_version, PREVIOUS: rows[-1].previous_version} if rows else {}
        wanted = {key: str(value) for key, value in said.items() if value is not None}
        versions = client.search_model_versions(f"name = '{name}'", max_results=10_000)
        decisions = [json.loads(each.tags.get("emsam.decision", "{}")) for each in versions]
        earned = any(each.get("verdict") == PROMOTE for each in decisions)
        if aliases != wanted or (CHAMPION in aliases) != earned:
            wrong.append(f"{name}: aliases {aliases}, ledger {wanted}, promoted: {earned}")
        if ledger.intent(name) is not None:
            wrong.append(f"{name}: an intent is left")
        if CHAMPION in aliases:
            check_package(f"{name}/{aliases[CHAMPION]}", settings)
        done = lab.emsam("registry", "verify", name)
        if done.returncode:
            wrong.append(f"registry verify {name}: {(done.stdout + done.stderr).strip()[-400:]}")
    return count, wrong


def data_versions(lab: SoakLab) -> Finding:
    """Each volume is one version, whose objects are on the remote with the bytes of their names."""
    client, bucket, prefix = lab.bucket()
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    wrong, known = [], set()
    for key in [entry["Key"] for page in pages for entry in page.get("Contents", ())]:
        _, there, rest = key.partition("files/md5/")
        if not there:
            continue
        body = client.get_object(Bucket=bucket, Key=key)["Body"].read()
        name = rest.replace("/", "")
        if hashlib.md5(body).hexdigest() != name.removesuffix(".dir"):
            wrong.append(f"{key}: damaged, {len(body)} bytes")
        known.add(name)
        if name.endswith(".dir"):
            known |= {f"needed {each['md5']}" for each in json.loads(body)}
    needed = {each.removeprefix("needed ") for each in known if each.startswith("needed ")}
    wrong += [f"{each}: not on the remote" for each in needed - known]
    for volume in sorted(lab.settings.data_root.glob("*/volume.zarr")):
        published = [each.digest for each in versioning.versions(volume.parent.name)]
        if published != [folder_digest(volume)] or published[0] not in known:
            wrong.append(f"{volume.parent.name}: published as {published}")
    return len(known), wrong + _git_leftovers(lab)


def _git_leftovers(lab: SoakLab) -> list[str]:
    wrong = [f"git status: {said}"] if (said := lab.git("status", "--porcelain")) else []
    if lab.git("worktree", "list").count("\n"):
        wrong.append(f"git worktrees: {lab.git('worktree', 'list')}")
    lab.git("fsck", "--no-dangling")
    locks = set((lab.path / ".git").rglob("*.lock"))
    return wrong + [f"{each}" for each in locks if each.name != "emsam-publish.lock"]


def flow_runs(lab: SoakLab) -> Finding:
    """Soon, each run that is pending, running or being cancelled has a live process here.

    One that has just begun has none yet, and one that ends now none any more.
    """
    until = time.monotonic() + _LEASE
    while (found := _flow_runs_now(lab))[1] and time.monotonic() < until:
        time.sleep(2)
    return found


def _flow_runs_now(lab: SoakLab) -> Finding:
    states = {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}}
    wanted = {"flow_runs": {"state": states}, "limit": 200}
    active = lab.ask("POST", "/flow_runs/filter", wanted)
    live = {process.pid for process in lab.processes()}
    wrong = []
    for run in active:
        pid = str(run["infrastructure_pid"] or "").rpartition(":")[2]
        if not pid.isdigit() or int(pid) not in live:
            wrong.append(f"{run['name']} is {run['state_type']}; its process {pid or 'has no id'}")
    return len(active), wrong


def prefect_slots(lab: SoakLab) -> Finding:
    """No limit has an active slot once the leases of the killed have ended."""
    until = time.monotonic() + _LEASE
    while True:
        limits = lab.ask("POST", "/v2/concurrency_limits/filter", {})
        active = {each["name"]: each["active_slots"] for each in limits}
        held = [f"{name}: {count}" for name, count in active.items() if count]
        if not held or time.monotonic() > until:
            known = f"emsam-{socket.gethostname()}-cpu" in active
            return len(limits), held if known else [*held, "there is no limit for this host"]
        time.sleep(2)


def file_locks(lab: SoakLab) -> Finding:
    """Every lock file of ours can be had."""
    places = ["slots/*.lock", "runs/*/.lock", "runs/*/.*.lock", ".emsam/*.lock", ".emsam/.*.lock"]
    files = {path for place in places for path in lab.path.glob(place)}
    files |= set((lab.path / ".git").glob("emsam-publish.lock"))
    wrong = []
    for path in sorted(files):
        with path.open("a") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                wrong.append(str(path.relative_to(lab.path)))
    return len(files), wrong


def leftovers(lab: SoakLab) -> Finding:
    """No ``.part`` anywhere but in the folder for temporary files, which nobody reads again."""
    found = [
        Path(folder) / name
        for folder, folders, files in os.walk(lab.path)
        for name in (*folders, *files)
        if name.endswith(".part")
    ]
    found = [path for path in found if lab.path / "tmp" not in path.parents]
    return len(found), [str(path.relative_to(lab.path)) for path in found]


def reconciled(lab: SoakLab) -> Finding:
    """``emsam reconcile`` was run before; a second time it has nothing to say."""
    done = lab.emsam("reconcile", "--json")
    if done.returncode:
        return 0, [f"exit {done.returncode}: {done.stderr.strip()[-400:]}"]
    found = json.loads(done.stdout)
    return 1, [f"{each['kind']} {each['where']}: {each['what']}" for each in found]


def orphans(lab: SoakLab) -> Finding:
    """After ``emsam down`` nothing lives that has the laboratory's mark or was once seen in it."""
    wrong = [f"{each.pid} {' '.join(words_of(each))[:150]}" for each in lab.processes()]
    for (pid, started), line in lab.seen.items():
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            same = process.create_time() == started and is_alive(process)
            if same and not any(each.startswith(f"{pid} ") for each in wrong):
                wrong.append(f"{pid} {line[:150]}")
    return len(lab.seen), wrong
