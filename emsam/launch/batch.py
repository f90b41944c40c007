"""Bring a job to its end on AWS Batch: submitted or adopted, followed, cancelled, fetched."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emsam.data.aws import aws_errors, open_aws
from emsam.documents import document_digest
from emsam.errors import InputError
from emsam.launch.outcome import settle
from emsam.launch.s3_folder import S3Folder
from emsam.launch.s3_run import S3Run
from emsam.launch.signals import sigterm_as_interrupt
from emsam.launch.watchdog import Watch
from emsam.settings import Settings
from emsam.train.run_directory import WAITING, RunDirectory

_ENDED = ("SUCCEEDED", "FAILED")
_PASSED_ON = ("batch_root", "devices", "heartbeat_seconds", "grace_seconds", "sync_seconds",
              "deadline_minutes")  # fmt: skip
"""Settings that the job has, too."""
_SPOT = [
    {"onStatusReason": "Host EC2*", "action": "RETRY"},
    {"onReason": "*", "action": "EXIT"},
]
"""Only a machine that was taken away is a reason to begin again; AWS Batch user guide, "Automate
retries for failed jobs"."""


_STOPS_IN = 60.0
"""Seconds that Batch may take besides, to pass a signal on and to say that the job has ended."""


@dataclass(frozen=True)
class _State:
    """What Batch says of a job; ``code`` is the container's exit status, if it had one."""

    status: str
    reason: str
    code: int | None


def run_on_batch(run: RunDirectory, settings: Settings, watch: Watch | None = None) -> None:
    """Bring the job in ``run`` to its end on AWS Batch.

    Volume, weights and the run directory go to S3; progress comes back while it trains, the
    newest checkpoint at its end. A job that is queued or running already, whoever submitted it,
    is followed instead of submitted twice. SIGINT or SIGTERM here terminates it; it saves first.

    Raises
    ------
    InputError
        Settings that are missing, or what AWS refuses.
    TrainingStopped
        The trainer stopped at a checkpoint.
    TrainingFailed
        It failed, or Batch gave it up; the message says why.
    """
    if run.is_done():
        return
    batch = _Batch(settings)
    address = run_address(run, settings)
    there = S3Run(run, address)
    with sigterm_as_interrupt():
        job = batch.find(address)
        if job is None:
            if there.is_ahead():
                there.pull()
            if run.is_done():
                return
            _send_inputs(run, settings)
            there.send_job()
            there.push()
            job = batch.submit(run, address)
        state = _follow(run, there, batch, job, watch)
    settle(run, 0 if state.status == "SUCCEEDED" else state.code, state.reason)


def stop_on_batch(run: RunDirectory, settings: Settings) -> None:
    """Terminate the job that a run's status names, wait until it is gone, fetch what it reached."""
    batch, job = _Batch(settings), str(run.status()["batch_job"])
    batch.end(job)
    S3Run(run, run_address(run, settings)).pull(batch_job=job)


def run_address(run: RunDirectory, settings: Settings) -> str:
    """Where a run is in S3: the same job is in the same place, another one never."""
    inputs = run.inputs()
    digests = [each["digest"] for each in inputs["data"]]
    weights = inputs.get("weights", {}).get("sha256")
    key = document_digest([run.params().training_part(), digests, weights])[:8]
    return f"{settings.batch_root.rstrip('/')}/runs/{run.name}-{key}"


def volume_address(digest: str, root: str) -> str:
    """Where a volume is in S3."""
    return f"{root.rstrip('/')}/volumes/{digest}"


def weights_address(sha256: str, root: str) -> str:
    """Where pretrained weights are in S3."""
    return f"{root.rstrip('/')}/weights/{sha256}"


def _send_inputs(run: RunDirectory, settings: Settings) -> None:
    inputs = run.inputs()
    if "features" in inputs:
        raise InputError(
            "train.cached_features: features stay on this host; set it to false for AWS Batch, or "
            "train here with EMSAM_LAUNCHER=process"
        )
    for data in inputs["data"]:
        volume = Path(data["path"])
        names = [
            each.relative_to(volume).as_posix() for each in volume.rglob("*") if each.is_file()
        ]
        S3Folder(volume_address(data["digest"], settings.batch_root)).send_once(volume, names)
    if weights := inputs.get("weights"):
        file = Path(weights["path"])
        folder = S3Folder(weights_address(weights["path_sha256"], settings.batch_root))
        folder.send_once(file.parent, [file.name])


def _follow(
    run: RunDirectory, there: S3Run, batch: _Batch, job: str, watch: Watch | None
) -> _State:
    """Bring the job's progress here until it has ended; whoever interrupts this ends the job."""
    seen = None
    try:
        while (state := _look(run, there, batch, job)) is None or state.status not in _ENDED:
            status = run.status()
            if watch and status.get("heartbeat") != seen:
                seen = status.get("heartbeat")
                watch(status)
            time.sleep(batch.every)
    except BaseException as error:
        if not isinstance(error, InputError):  # then AWS does not answer
            batch.end(job)
            there.pull(batch_job=job)
        raise
    return state


def _look(run: RunDirectory, there: S3Run, batch: _Batch, job: str) -> _State | None:
    """The job's state, its progress brought here; ``None`` while AWS does not answer."""
    try:
        state = batch.state(job)
        if state.status in _ENDED:
            there.pull(batch_job=job)
        elif state.status == "RUNNING":
            there.pull(checkpoint=False, batch_job=job)
        else:
            note = f"{state.status.lower()} in AWS Batch queue {batch.queue} {state.reason}"
            run.update_status(state=WAITING, slots=[], note=note.strip(), batch_job=job)
    except InputError:
        if batch.is_out_of_patience():
            raise
        return None
    return state


class _Batch:
    """The queue to which the jobs go."""

    def __init__(self, settings: Settings) -> None:
        for name in ("batch_queue", "batch_definition", "batch_root"):
            if not getattr(settings, name):
                raise InputError(
                    f"EMSAM_{name.upper()}: not set, but EMSAM_LAUNCHER is batch; docs/jobs.md "
                    "says what it is"
                )
        self.queue, self.every = settings.batch_queue, settings.sync_seconds
        self._settings = settings
        self._answered = time.monotonic()
        with aws_errors(f"AWS Batch queue {self.queue}"):
            self._client = open_aws("batch")

    def find(self, address: str) -> str | None:
        """Id of the job for a run that has not ended yet."""
        name = _job_name(address)
        found = self._ask(
            "list_jobs", jobQueue=self.queue, filters=[{"name": "JOB_NAME", "values": [name]}]
        )["jobSummaryList"]
        ids = [each["jobId"] for each in found if each["status"] not in _ENDED]
        return str(ids[0]) if ids else None

    def submit(self, run: RunDirectory, address: str) -> str:
        """Put a job for a run into the queue; returns its id."""
        settings, budget = self._settings, run.params().train
        environment = [
            {"name": f"EMSAM_{name.upper()}", "value": str(value)}
            for name in _PASSED_ON
            if (value := getattr(settings, name)) is not None
        ]
        container: dict[str, Any] = {
            "command": ["python", "-m", "emsam.launch.batch_job", address],
            "environment": environment,
        }
        if budget.accelerator != "cpu":
            gpus = {"type": "GPU", "value": str(settings.devices)}
            container["resourceRequirements"] = [gpus]
        answer = self._ask(
            "submit_job",
            jobName=_job_name(address),
            jobQueue=self.queue,
            jobDefinition=settings.batch_definition,
            containerOverrides=container,
            retryStrategy={"attempts": settings.batch_attempts, "evaluateOnExit": _SPOT},
            tags={"emsam-run": run.name},
        )
        return str(answer["jobId"])

    def state(self, job: str) -> _State:
        """What Batch says of a job."""
        found = self._ask("describe_jobs", jobs=[job])["jobs"]
        if not found:  # Batch forgets a job some days after its end
            return _State("FAILED", f"AWS Batch does not know the job {job} any more", None)
        (document,) = found
        last = [document.get("container", {}), *(a["container"] for a in document["attempts"])][-1]
        code = last.get("exitCode", document.get("container", {}).get("exitCode"))
        reason = document.get("statusReason") or last.get("reason") or ""
        return _State(document["status"], reason, code)

    def end(self, job: str) -> None:
        """Terminate a job and wait until its trainer has saved and gone."""
        self._ask("terminate_job", jobId=job, reason="stopped by EM-SAM")
        until = time.monotonic() + self._settings.grace_seconds + _STOPS_IN
        while self.state(job).status not in _ENDED and time.monotonic() < until:
            time.sleep(min(1.0, self.every))

    def is_out_of_patience(self) -> bool:
        """Whether AWS has not answered for longer than a trainer may be silent."""
        return time.monotonic() - self._answered > self._settings.heartbeat_seconds

    def _ask(self, question: str, **words: Any) -> Any:
        with aws_errors(f"AWS Batch queue {self.queue}"):
            answer = getattr(self._client, question)(**words)
        self._answered = time.monotonic()
        return answer


def _job_name(address: str) -> str:
    """Name of the job for a run, in the 128 letters that Batch has for it."""
    return "emsam-" + re.sub(r"[^A-Za-z0-9_-]", "-", address.rpartition("/")[2])[-120:]
