"""The search for the post-processing that suits a run best, on validation slices."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from emsam.data.digest import file_sha256, folder_digest
from emsam.data.store import Volume
from emsam.errors import InputError
from emsam.metrics.score_slice import LOWER_IS_BETTER, PRIMARY, score_slice
from emsam.model.package import load_network
from emsam.params import Params, SegmentParams
from emsam.segment.evaluate import labelled_pixels
from emsam.segment.instances import make_instances
from emsam.segment.predict import predict_maps
from emsam.train.run_directory import RunDirectory

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Progress = Callable[[int, int, str], None]

_OBJECTS = ("min_size", "min_confidence")
_SEARCHED: dict[str, tuple[str, ...]] = {
    "seeds": ("threshold", "foreground", *_OBJECTS),
    "agglomerate": ("threshold", "merge", "foreground", *_OBJECTS),
    "multicut": ("threshold", "merge", "foreground", *_OBJECTS),
    "mutex": ("mutex_stride", "mutex_bias", "foreground", *_OBJECTS),
    "distance": ("seed_depth", "foreground", *_OBJECTS),
}
"""What each method depends on."""
_RANGE: dict[str, tuple[float, float]] = {
    "threshold": (0.3, 0.98), "merge": (0.1, 0.9), "foreground": (0.2, 0.8),
    "min_size": (5, 400), "min_confidence": (0.0, 0.8), "mutex_stride": (1, 8),
    "mutex_bias": (-0.3, 0.4), "seed_depth": (0.25, 10.0),
}  # fmt: skip
_LOGARITHMIC = {"min_size", "seed_depth"}


@dataclass(frozen=True)
class Search:
    """How the search goes.

    Attributes
    ----------
    trials
        Settings that are tried; the first is the run's own.
    methods
        Values of ``segment.method``; empty takes the run's own.
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
    checkpoint = run.require().require_checkpoint()
    weights = checkpoint / "model.safetensors"
    asked = run.untuned_params().segment  # so that a search can be made longer later
    params = run.model_params().model_copy(update={"segment": asked})
    slices = _allowed_slices(run, volume, split, params)
    methods = _methods(params, search)
    job = {
        "weights": file_sha256(weights), "digest": folder_digest(volume.path), "slices": slices,
        "segment": asked.model_dump(mode="json"), "methods": methods, "seed": search.seed,
    }  # fmt: skip
    context = {
        "study": hashlib.sha256(json.dumps(job, sort_keys=True).encode()).hexdigest()[:16],
        "data": volume.info.name,
        "split": split,
        "metric": PRIMARY[params.task],
    }
    steps = len(slices) + search.trials

    def report(done: int, note: str) -> None:
        if progress:
            progress(done, steps, note)

    with run.lock() as free:
        if not free:
            raise InputError(f"{run.path}: another process holds this run; wait until it is done")
        study = _Study(run, context, _space(params, methods), asked, search.seed)
        if study.done() < search.trials:
            network, _ = load_network(weights, checkpoint / "params.yaml")
            seen = _look_at(network, volume, params, slices, report)
        for number in range(study.done(), search.trials):
            study.run_trial(number, lambda segment: _score(seen, params, segment))
            report(len(slices) + number + 1, f"{study.best()['value']:.4f}")
        best = study.best()
        run.set_tuned(SegmentParams.model_validate(best["segment"]))
    return context | {
        "run": str(run.path),
        "slices": slices,
        "trials": study.done(),
        "before": study.first()["value"],
        "after": best["value"],
        "trial": best["trial"],
        "segment": best["searched"],
    }


def _look_at(
    network: nn.Module,
    volume: Volume,
    params: Params,
    slices: Sequence[int],
    report: Callable[[int, str], None],
) -> list[_Slice]:
    """Predict the maps of the slices, which no trial changes."""
    seen: list[_Slice] = []
    for z in slices:
        maps = predict_maps(network, volume.image(z), params).astype(np.float16)
        seen.append(_Slice(maps, volume.labels(params.task, z)))
        report(len(seen), "predicting")
    return seen


class _Study:
    """Trials of one search, on disk; each depends on those before it and on the seed alone."""

    def __init__(
        self,
        run: RunDirectory,
        context: dict[str, Any],
        space: dict[str, BaseDistribution],
        start: SegmentParams,
        seed: int,
    ) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._run, self._context, self._space = run, context, space
        self._start, self._seed = start, seed
        lower = context["metric"] in LOWER_IS_BETTER
        self._study = optuna.create_study(direction="minimize" if lower else "maximize")
        self._lines = [each for each in run.trials() if each["study"] == context["study"]]
        for line in self._lines:
            self._study.add_trial(
                optuna.trial.create_trial(
                    params=line["searched"], distributions=space, value=line["value"]
                )
            )

    def done(self) -> int:
        return len(self._lines)

    def first(self) -> dict[str, Any]:
        return self._lines[0]

    def best(self) -> dict[str, Any]:
        """The earliest of the best trials."""
        sign = 1 if self._context["metric"] in LOWER_IS_BETTER else -1
        return min(self._lines, key=lambda line: sign * line["value"])

    def run_trial(self, number: int, score: Callable[[SegmentParams], float]) -> None:
        """Ask for settings, score them, write the line; the first trial is the run's own."""
        import optuna

        if number == 0:
            self._study.enqueue_trial({name: getattr(self._start, name) for name in self._space})
        self._study.sampler = optuna.samplers.TPESampler(seed=self._seed * 100_003 + number)
        trial = self._study.ask(self._space)
        segment = SegmentParams.model_validate(self._start.model_dump() | trial.params)
        value = score(segment)
        self._study.tell(trial, value)
        line = self._context | {
            "trial": number,
            "at": int(time.time() * 1000),
            "value": value,
            "searched": trial.params,
            "segment": segment.model_dump(mode="json"),
        }
        self._run.append_trial(line)
        self._lines.append(line)


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
        if name not in _SEARCHED:
            raise InputError(f"--method {name}: unknown; one of {', '.join(_SEARCHED)}")
    own = params.segment.method
    return sorted(set(search.methods or (own,)), key=lambda name: (name != own, name))


def _space(params: Params, methods: Sequence[str]) -> dict[str, BaseDistribution]:
    """Ranges of what the methods depend on, widened to hold what the run has now."""
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    space: dict[str, BaseDistribution] = {}
    if len(methods) > 1:
        space["method"] = CategoricalDistribution(methods)
    for name in dict.fromkeys(name for method in methods for name in _SEARCHED[method]):
        now = getattr(params.segment, name)
        low, high = min(_RANGE[name][0], now), max(_RANGE[name][1], now)
        logarithmic = name in _LOGARITHMIC and low > 0
        kind = IntDistribution if isinstance(now, int) else FloatDistribution
        space[name] = kind(low, high, log=logarithmic)
    return space


def _allowed_slices(run: RunDirectory, volume: Volume, split: str, params: Params) -> list[int]:
    """The validation slices, of which the run has learned none."""
    if split != "val":
        raise InputError(
            f"--split {split}: post-processing is tuned on val slices alone; what was tuned on "
            "test or training slices says nothing about others"
        )
    volume.require_task(params.task)
    slices = volume.slices(split, params.task)
    digest = folder_digest(volume.path)
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
        raise InputError("emsam tune: Optuna is not installed; pip install 'emsam[tune]'") from None
