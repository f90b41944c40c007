"""The search for the post-processing that suits a run best, on validation slices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emsam.data.digest import file_sha256, folder_digest
from emsam.data.store import Volume
from emsam.documents import document_digest
from emsam.errors import InputError
from emsam.metrics.score_slice import score_slice
from emsam.metrics.variants import PRIMARY
from emsam.model.folding import fold_norms
from emsam.model.package import load_network
from emsam.params import Params, SegmentParams
from emsam.segment.channels import require_channels
from emsam.segment.evaluate import labelled_pixels
from emsam.segment.instances import make_instances
from emsam.segment.predict import predict_maps
from emsam.train.run_directory import RunDirectory
from emsam.train.study import SEARCHED, Study, search_space

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Search:
    """How the search goes.

    Attributes
    ----------
    trials
        Settings that are tried; the first is the run's own.
    methods
        Values of ``segment.method`` beside the run's own.
    """

    trials: int = 50
    methods: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class _Slice:
    """What a trial needs of a slice: maps (c, y, x) float16 and true ids (y, x)."""

    maps: np.ndarray
    truth: np.ndarray


def tune_run(
    run: RunDirectory, volume: Volume, split: str, search: Search, progress: Progress | None = None
) -> dict[str, Any]:
    """Search ``segment`` for the best primary metric on a volume's validation slices.

    The maps are predicted once. A trial is a line of ``tuning.jsonl``; the same search goes on
    where it was stopped and finds the same. The best settings, which may be those that the run
    had, are kept in ``segment.yaml``.

    Returns
    -------
    dict
        ``run``, ``data``, ``split``, ``slices``; ``metric`` with its mean ``before`` and
        ``after``; the chosen ``trial`` and its settings, ``segment``; ``study``, a key of all
        that the search depends on.

    Raises
    ------
    InputError
        Test or training slices, an unknown method, no checkpoint, no labels of the task, Optuna
        is not installed, or another process holds the run.
    """
    _require_optuna()
    checkpoint = run.require().judged_checkpoint()
    asked = run.untuned_params().segment  # so that a search can be made longer later
    params = run.model_params().model_copy(update={"segment": asked})
    start = params.settled_segment
    digest = folder_digest(volume.path)
    slices = _allowed_slices(run, volume, digest, split, params)
    methods = _methods(params, search)
    context = {
        "study": _study_key(checkpoint, digest, slices, start, methods, search.seed),
        "data": volume.info.name,
        "split": split,
        "metric": PRIMARY[params.task],
    }
    steps = len(slices) + search.trials

    def report(done: int, note: str) -> None:
        if progress:
            progress(done, steps, note)

    with _held(run):
        study = Study(run, context, search_space(start, methods), start, search.seed)
        if study.done() < search.trials:
            seen = _look_at(checkpoint, volume, params, slices, report)
        for number in range(study.done(), search.trials):
            study.run_trial(number, lambda segment: _score(seen, params, segment))
            report(len(slices) + number + 1, f"{study.best()['value']:.4f}")
        run.set_tuned(SegmentParams.model_validate(study.best()["segment"]))
    return context | study.outcome() | {"run": str(run.path), "slices": slices}


@contextmanager
def _held(run: RunDirectory) -> Iterator[None]:
    with run.lock() as free:
        if not free:
            raise InputError(f"{run.path}: another process holds this run; wait until it is done")
        yield


def _study_key(
    checkpoint: Path,
    digest: str,
    slices: list[int],
    start: SegmentParams,
    methods: list[str],
    seed: int,
) -> str:
    """A digest of all that a search depends on, but for its length."""
    job = {
        "weights": file_sha256(checkpoint / "model.safetensors"),
        "digest": digest, "slices": slices,
        "segment": start.model_dump(mode="json"), "methods": methods, "seed": seed,
    }  # fmt: skip
    return document_digest(job)[:16]


def _look_at(
    checkpoint: Path,
    volume: Volume,
    params: Params,
    slices: Sequence[int],
    report: Callable[[int, str], None],
) -> list[_Slice]:
    """Predict the maps of the slices, which no trial changes."""
    files = checkpoint / "model.safetensors", checkpoint / "params.yaml"
    network = fold_norms(load_network(*files)[0])
    seen: list[_Slice] = []
    for z in slices:
        maps = predict_maps(network, volume.image(z), params).astype(np.float16)
        seen.append(_Slice(maps, volume.labels(params.task, z)))
        report(len(seen), "predicting")
    return seen


def _score(slices: Sequence[_Slice], params: Params, segment: SegmentParams) -> float:
    """Mean of the primary metric over slices, those without a number left out."""
    wanted = params.model_copy(update={"segment": segment})
    values = []
    for each in slices:
        ids, _ = make_instances(each.maps.astype(np.float32), wanted)
        labelled = labelled_pixels(each.truth, params)
        scores = score_slice(each.truth, ids, params.task, labelled=labelled)
        values.append(scores[PRIMARY[params.task]])
    if np.isnan(values).all():
        raise InputError(f"no {params.task} on any of these slices; tune on other data")
    return float(np.nanmean(values))


def _methods(params: Params, search: Search) -> list[str]:
    """Methods that are tried, the run's own first."""
    for name in search.methods:
        if name not in SEARCHED:
            raise InputError(f"--method {name}: unknown; one of {', '.join(SEARCHED)}")
        segment = params.segment.model_copy(update={"method": name})
        require_channels(params.model_copy(update={"segment": segment}))
    own = params.segment.method
    return sorted({own, *search.methods}, key=lambda name: (name != own, name))


def _allowed_slices(
    run: RunDirectory, volume: Volume, digest: str, split: str, params: Params
) -> list[int]:
    """The validation slices, of which the run has learned none."""
    if split != "val":
        raise InputError(
            f"--split {split}: post-processing is tuned on val slices alone; what was tuned on "
            "test or training slices says nothing about others"
        )
    volume.require_task(params.task)
    slices = volume.slices(split, params.task)
    for data in run.inputs()["data"]:
        if volume.info.name != data["name"] and digest != data["digest"]:
            continue
        first, last = data["splits"]["train"]
        learned = [z for z in slices if first <= z <= last]
        if learned:
            raise InputError(
                f"{volume.path}: {run.name} was trained on slices {first}-{last}, of which "
                f"{learned[0]}-{learned[-1]} are val slices now; tune on others"
            )
    return slices


def _require_optuna() -> None:
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise InputError("emsam tune: Optuna is not installed; pip install -e '.[tune]'") from None
