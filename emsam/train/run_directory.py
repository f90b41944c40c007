"""The run directory: the contract between a training process and everybody else.

::

    params.yaml      resolved parameters
    inputs.json      data digests, git commit, package versions, hardware
    metrics.jsonl    append-only, a line a step
    checkpoints/step-NNNNNN/{model.safetensors, params.yaml, trainer.pt, manifest.json}
    segment.yaml     post-processing that 'emsam tune' chose, in place of that in params.yaml
    tuning.jsonl     a line a trial of 'emsam tune'
    status.json      pid, start time, heartbeat, state
    train.log        what the process printed
    scores.json      a row per data set, slice and metric variant
    predictions/     predicted ids of each evaluated split, and their errors
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from emsam.documents import finite_or_none, parse_object, read_object, write_whole
from emsam.errors import InputError, one_line
from emsam.locks import try_lock
from emsam.params import Params, SegmentParams, dump_params, load_params
from emsam.train.checkpoints import (
    Content,
    Score,
    best_of,
    best_score,
    step_of,
    whole_checkpoints,
    write_checkpoint,
)

if TYPE_CHECKING:  # whoever only looks at a run does not wait for torch
    from torch import Tensor

NEW, WAITING, STARTING, RUNNING = "new", "waiting", "starting", "running"
DONE, STOPPED, FAILED = "done", "stopped", "failed"
ACTIVE = (WAITING, STARTING, RUNNING)
"""States in which a process works for the run."""

_PLACES = ("data", "weights", "features")
"""Inputs that may lie in another place when a run goes on."""
_COPY = "copy the run again, or train it anew"


class RunDirectory:
    """One training job on disk.

    Parameters
    ----------
    path
        The folder; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.params_file = self.path / "params.yaml"
        self.inputs_file = self.path / "inputs.json"
        self.metrics_file = self.path / "metrics.jsonl"
        self.tuned_file = self.path / "segment.yaml"
        self.trials_file = self.path / "tuning.jsonl"
        self.status_file = self.path / "status.json"
        self.scores_file = self.path / "scores.json"
        self.log_file = self.path / "train.log"
        self.checkpoints = self.path / "checkpoints"
        self.figures = self.path / "figures"
        self.predictions = self.path / "predictions"

    @property
    def name(self) -> str:
        return self.path.name

    def predictions_of(self, data: str, split: str) -> Path:
        """Store of the ids that were predicted on a split of a volume."""
        return self.predictions / f"{data}-{split}.zarr"

    def exists(self) -> bool:
        """Whether a job was prepared here."""
        return self.inputs_file.exists() and (
            self.params_file.exists() or self.newest_checkpoint() is not None
        )

    def require(self) -> RunDirectory:
        """Raise :class:`InputError` unless a job was prepared here."""
        if not self.exists():
            raise InputError(f"{self.path}: no run here; train one with 'emsam train --run'")
        return self

    # -- what the job is ------------------------------------------------------------------------

    def prepare(self, params: Params, inputs: dict[str, Any]) -> None:
        """Write parameters and inputs; a job that is already here must be the same one.

        Post-processing and judging may differ: they are brought up to date.

        Raises
        ------
        InputError
            Another job, or something that is no run, occupies the folder.
        """
        if self.exists():
            self._refuse_other_job(params, inputs)
            self.set_judging(params)
            here = self.inputs()
            moved = {key: inputs[key] for key in _PLACES if key in inputs}
            if here != here | moved:  # the same bytes, in another place now
                write_whole(self.inputs_file, json.dumps(here | moved, indent=2) + "\n")
            return
        if self.path.exists() and not self._is_ours():
            raise InputError(f"{self.path}: not empty and no run; choose another --run")
        self.path.mkdir(parents=True, exist_ok=True)
        write_whole(self.params_file, dump_params(params))
        identity = {"id": uuid.uuid4().hex}  # two runs of the same job are two runs
        write_whole(self.inputs_file, json.dumps(identity | inputs, indent=2) + "\n")

    def set_judging(self, params: Params, *, keep_tuned: bool = True) -> None:
        """Take over the post-processing and judging of ``params``, nothing else of it.

        Parameters
        ----------
        keep_tuned
            What 'emsam tune' chose stays as long as ``params`` ask for what they asked before.
            ``False`` drops it if ``params`` ask for anything else.
        """
        asked = self.untuned_params()
        changed = params.segment != (asked if keep_tuned else self.params()).segment
        segment = params.segment if changed else asked.segment
        wanted = asked.model_copy(update={"segment": segment, "evaluate": params.evaluate})
        if asked != wanted:
            write_whole(self.params_file, dump_params(wanted))
        if changed:
            self.tuned_file.unlink(missing_ok=True)

    def set_tuned(self, segment: SegmentParams) -> None:
        """Keep the post-processing that was found best; :meth:`params` has it from now on."""
        text = yaml.safe_dump({"segment": segment.model_dump(mode="json")}, sort_keys=False)
        write_whole(self.tuned_file, text)

    def params(self) -> Params:
        """What to compute now, with the post-processing that was tuned, if it was."""
        params = self.untuned_params()
        if not self.tuned_file.exists():
            return params
        return params.model_copy(update={"segment": load_params(self.tuned_file).segment})

    def untuned_params(self) -> Params:
        """What was asked for; a run whose checkpoint came from elsewhere follows that."""
        if self.params_file.exists():
            return load_params(self.params_file)
        return load_params(self.require_checkpoint() / "params.yaml")

    def model_params(self) -> Params:
        """What the newest checkpoint was trained with, judged as :meth:`params` says."""
        judging = self.params()
        trained = load_params(self.require_checkpoint() / "params.yaml")
        return trained.model_copy(update={"segment": judging.segment, "evaluate": judging.evaluate})

    def inputs(self) -> dict[str, Any]:
        """Content of ``inputs.json``; :class:`InputError` if it lacks what every run has."""
        inputs = read_object(self.inputs_file, _COPY)
        data = inputs.get("data")
        if not isinstance(data, list) or not data or not all(map(_is_data_set, data)):
            raise InputError(f"{self.inputs_file}: names no data set; {_COPY}")
        return inputs

    def _is_ours(self) -> bool:
        """Whether a run alone can have left what is in the folder."""
        mine = {each.name for each in vars(self).values() if isinstance(each, Path)}
        return self.path.is_dir() and all(
            each.name in mine or each.name.startswith(".") for each in self.path.iterdir()
        )

    def _refuse_other_job(self, params: Params, inputs: dict[str, Any]) -> None:
        if self.params().training_part() != params.training_part():
            raise InputError(
                f"{self.path}: holds a run with other parameters (see {self.params_file}); "
                "choose another --run"
            )
        here = [data["digest"] for data in self.inputs()["data"]]
        asked = [data["digest"] for data in inputs["data"]]
        if here != asked:
            raise InputError(
                f"{self.path}: holds a run on data set version {here[0]}, the volume is now "
                f"{asked[0]}; choose another --run"
            )
        trained, wanted = (each.get("weights", {}) for each in (self.inputs(), inputs))
        if trained.get("sha256") != wanted.get("sha256"):
            raise InputError(
                f"{self.path}: began with weights {trained['sha256'][:12]}, the job has "
                f"{wanted['sha256'][:12]} now; choose another --run"
            )

    # -- how it goes ----------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Last written status; ``{"state": "new"}`` before the first."""
        try:
            status = read_object(self.status_file, _COPY)
        except FileNotFoundError:
            return {"state": NEW, "step": 0}
        if not isinstance(status.get("state"), str) or type(status.get("step", 0)) is not int:
            raise InputError(f"{self.status_file}: has no state or no step; {_COPY}")
        return status

    def write_status(self, **fields: Any) -> None:
        write_whole(self.status_file, json.dumps(fields | {"heartbeat": time.time()}) + "\n")

    def update_status(self, **fields: Any) -> None:
        """Write ``fields`` over what the status says; an error of before is over."""
        kept = {key: value for key, value in self.status().items() if key != "error"}
        self.write_status(**kept | fields)

    def trials(self) -> list[dict[str, Any]]:
        """Lines of ``tuning.jsonl``."""
        return list(_lines(self.trials_file))

    def append_trial(self, line: dict[str, Any]) -> None:
        """Add a line to ``tuning.jsonl``."""
        _drop_half_line(self.trials_file)
        _append(self.trials_file, line)

    def append_metrics(self, line: dict[str, Any]) -> None:
        """Add a line; numbers that are not finite become null, which JSON can hold."""
        _append(self.metrics_file, line)

    def metrics(self) -> Iterator[dict[str, Any]]:
        """Whole lines of ``metrics.jsonl``."""
        return _lines(self.metrics_file)

    def mend_metrics(self) -> int:
        """Drop a line that a killed process left half written; returns the last step or -1."""
        _drop_half_line(self.metrics_file)
        last = deque(self.metrics(), maxlen=1)
        return int(last[0]["step"]) if last else -1

    def lock(self) -> AbstractContextManager[bool]:
        """Hold the run for this process; the context is ``False`` if another one holds it."""
        return try_lock(self.path / ".lock")

    # -- checkpoints ----------------------------------------------------------------------------

    def save_checkpoint(
        self,
        step: int,
        model: dict[str, Tensor],
        trainer: dict[str, Any],
        *,
        keep: int,
        score: Score | None = None,
    ) -> None:
        """Write a checkpoint in full or not at all, and drop old ones.

        Parameters
        ----------
        keep
            How many of the newest stay; the best one stays beside them.
        score
            Of the weights on validation slices, if it was measured.
        """
        content = Content(step, model, trainer, dump_params(self.params()), score)
        write_checkpoint(self.checkpoints, content, keep)

    def is_best(self, score: Score | None) -> bool:
        """Whether weights of this score are better than those of every checkpoint."""
        if score is None:
            return False
        best = best_score(whole_checkpoints(self.checkpoints))
        return best is None or score.is_better_than(best.value)

    def best_checkpoint(self) -> Path | None:
        """Whole checkpoint with the best score on validation slices; ``None`` if none has one."""
        return best_of(whole_checkpoints(self.checkpoints))

    def judged_checkpoint(self) -> Path:
        """What is evaluated, tuned, registered and used, by ``evaluate.checkpoint``.

        ``best`` is the newest one where no validation slices were scored.

        Raises
        ------
        InputError
            There is no whole checkpoint.
        """
        best = self.best_checkpoint() if self.params().evaluate.checkpoint == "best" else None
        return best or self.require_checkpoint()

    def require_checkpoint(self) -> Path:
        """Newest whole checkpoint; raises :class:`InputError` where there is none."""
        checkpoint = self.newest_checkpoint()
        if checkpoint is None:
            raise InputError(f"{self.path}: no whole checkpoint; train it with 'emsam train'")
        return checkpoint

    def is_done(self) -> bool:
        """Whether the job came to its end and its last checkpoint is whole."""
        status, checkpoint = self.status(), self.newest_checkpoint()
        return bool(
            status["state"] == DONE and checkpoint and step_of(checkpoint) == status["step"]
        )

    def newest_checkpoint(self) -> Path | None:
        """Newest checkpoint whose files have the sha256 of its manifest."""
        return next(iter(whole_checkpoints(self.checkpoints)), None)


def _append(path: Path, line: dict[str, Any]) -> None:
    with path.open("a") as stream:
        stream.write(json.dumps(finite_or_none(line), allow_nan=False) + "\n")


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a file; none where there is no file."""
    if not path.exists():
        return
    if not path.is_file():
        raise InputError(f"{path}: is no file; {_COPY}")
    with path.open("rb") as stream:
        for number, text in enumerate(stream, 1):
            if not text.endswith(b"\n"):
                return
            try:
                line = parse_object(text)
            except ValueError as error:
                raise InputError(
                    f"{path}: line {number} is damaged ({one_line(error)}); remove it"
                ) from None
            yield line


def _is_data_set(document: Any) -> bool:
    return isinstance(document, dict) and all(
        isinstance(document.get(key), str) for key in ("name", "digest", "path")
    )


def _drop_half_line(path: Path) -> None:
    """Cut off what a killed process left of its last line."""
    if path.exists():
        content = path.read_bytes()
        os.truncate(path, content.rfind(b"\n") + 1)
