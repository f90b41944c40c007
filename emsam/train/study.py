"""Trials of a search for post-processing: what is searched, what was tried, what comes next."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from emsam.metrics.variants import LOWER_IS_BETTER
from emsam.params import SegmentParams
from emsam.train.run_directory import RunDirectory

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

_OBJECTS = ("min_size", "min_confidence")
SEARCHED: dict[str, tuple[str, ...]] = {
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


class Study:
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

    def best(self) -> dict[str, Any]:
        """The earliest of the best trials."""
        sign = 1 if self._context["metric"] in LOWER_IS_BETTER else -1
        return min(self._lines, key=lambda line: sign * line["value"])

    def outcome(self) -> dict[str, Any]:
        """What was reached: number of trials, first and best value, the best trial's settings."""
        best = self.best()
        return {
            "trials": self.done(),
            "before": self._lines[0]["value"],
            "after": best["value"],
            "trial": best["trial"],
            "segment": best["searched"],
        }

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


def search_space(start: SegmentParams, methods: Sequence[str]) -> dict[str, BaseDistribution]:
    """Ranges of what the methods depend on, widened to hold what the run has now."""
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    space: dict[str, BaseDistribution] = {}
    if len(methods) > 1:
        space["method"] = CategoricalDistribution(methods)
    for name in dict.fromkeys(name for method in methods for name in SEARCHED[method]):
        now = getattr(start, name)
        low, high = min(_RANGE[name][0], now), max(_RANGE[name][1], now)
        logarithmic = name in _LOGARITHMIC and low > 0
        kind = IntDistribution if isinstance(now, int) else FloatDistribution
        space[name] = kind(low, high, log=logarithmic)
    return space
