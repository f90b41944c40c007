"""What a container of AWS Batch runs: ``python -m emsam.launch.batch_job s3://…/runs/NAME``.

It fetches the job, trains it as any other host does, and sends its progress again and again. Exit
status as that of the trainer: 0 done, 75 stopped and resumable, 2 bad input, 3 another job holds
the run, 1 failed.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from pathlib import Path
from typing import Any

from emsam.data.digest import folder_digest
from emsam.documents import write_whole
from emsam.errors import InputError, TrainingFailed, TrainingStopped
from emsam.interrupts import forget_caught_interrupts
from emsam.launch.batch import volume_address, weights_address
from emsam.launch.process import run_training
from emsam.launch.s3_folder import S3Folder
from emsam.launch.s3_run import S3Run
from emsam.launch.signals import sigterm_as_interrupt
from emsam.settings import Settings
from emsam.train.run_directory import STOPPED, RunDirectory
from emsam.train.stop import EXIT_BAD_INPUT, EXIT_FAILED, EXIT_HELD, EXIT_STOPPED


def main(address: str, settings: Settings) -> int:
    """Train the run at ``address``; returns the exit status."""
    run = RunDirectory(settings.runs_root / address.rstrip("/").rpartition("/")[2])
    here = S3Run(run, address)
    holder = os.environ.get("AWS_BATCH_JOB_ID") or f"{socket.gethostname()} {os.getpid()}"
    with here.hold(holder, settings.sync_seconds) as lost:
        if lost is None:
            print(f"emsam: {address}: another job trains this run", file=sys.stderr)
            return EXIT_HELD
        here.fetch_job()
        here.pull()
        _fetch_inputs(run, settings)
        try:
            return _train(run, settings, lost)
        except _LeaseLost:
            print(f"emsam: {address}: another job took this run over", file=sys.stderr)
            return EXIT_HELD


class _LeaseLost(Exception):
    """S3 was away for so long that another job took the run."""


def _train(run: RunDirectory, settings: Settings, lost: threading.Event) -> int:
    def look(status: dict[str, Any]) -> None:
        if lost.is_set():
            raise _LeaseLost

    try:
        run_training(run, settings, look)
    except TrainingStopped as error:
        return _said(error, EXIT_STOPPED)
    except TrainingFailed as error:
        return _said(error, EXIT_FAILED)
    except KeyboardInterrupt:
        return EXIT_STOPPED if run.status()["state"] == STOPPED else EXIT_FAILED
    return 0


def _said(error: Exception, code: int) -> int:
    print(f"emsam: {error}", file=sys.stderr)
    return code


def _fetch_inputs(run: RunDirectory, settings: Settings) -> None:
    """Volume and weights, and where they lie now."""
    inputs = run.inputs()
    for data in inputs["data"]:
        volume = settings.volume_path(data["name"])
        S3Folder(volume_address(data["digest"], settings.batch_root)).fetch_once(volume)
        if (digest := folder_digest(volume)) != data["digest"]:
            raise InputError(
                f"{volume}: is {digest}, the job wants {data['digest']}; somebody changed what is "
                f"in {settings.batch_root}, remove it there and start the job again"
            )
        data["path"] = str(volume.absolute())
    if weights := inputs.get("weights"):
        folder = settings.weights_root / weights["path_sha256"]
        name = Path(weights["path"]).name
        S3Folder(weights_address(weights["path_sha256"], settings.batch_root)).fetch_once(folder)
        weights["path"] = str((folder / name).absolute())
    write_whole(run.inputs_file, json.dumps(inputs, indent=2) + "\n")


def _run(address: str) -> int:
    with sigterm_as_interrupt():
        try:
            return main(address, Settings())
        except InputError as error:
            return _said(error, EXIT_BAD_INPUT)
        except KeyboardInterrupt:
            return EXIT_STOPPED


if __name__ == "__main__":
    status = _run(sys.argv[1])
    forget_caught_interrupts()
    sys.exit(status)
