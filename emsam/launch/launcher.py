"""Where a job trains, as the settings say."""

from __future__ import annotations

from emsam.launch.batch import run_on_batch
from emsam.launch.process import run_training
from emsam.launch.watchdog import Watch
from emsam.settings import Settings
from emsam.train.run_directory import RunDirectory


def launch(run: RunDirectory, settings: Settings, watch: Watch | None = None) -> None:
    """Bring a job to its end, in a process of this host or on AWS Batch.

    Raises
    ------
    InputError, TrainingStopped, TrainingFailed
        See :func:`~emsam.launch.process.run_training`.
    """
    start = run_on_batch if settings.launcher == "batch" else run_training
    start(run, settings, watch)
