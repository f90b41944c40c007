"""Candidate and champion, scored again on the same slices by the same code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow.entities.model_registry import ModelVersion

from emsam.errors import InputError
from emsam.params import Params, Task, load_params
from emsam.progress import Progress
from emsam.registry.clean_process import Judged, Scored, score_package
from emsam.registry.decision_page import CANDIDATE, CHAMPION, predictions_name
from emsam.registry.models import fetch_package
from emsam.registry.names import version_name
from emsam.settings import Settings


@dataclass(frozen=True)
class Judgement:
    """What was scored; ``champion`` is ``None`` where there is none."""

    task: Task
    params: Params
    judged: Sequence[Judged]
    candidate: Scored
    champion: Scored | None

    @property
    def models(self) -> dict[str, Scored]:
        """``candidate`` and, where there is one, ``champion``."""
        return {CANDIDATE: self.candidate} | ({CHAMPION: self.champion} if self.champion else {})

    def predictions(self) -> dict[str, Path]:
        """Stores of what was predicted, by the name that each has in the decision's folder."""
        return {
            predictions_name(index, who): scored.predictions(index)
            for who, scored in self.models.items()
            for index in range(len(self.judged))
        }

    def rows(self) -> list[dict[str, Any]]:
        """Every score of both models: ``model``, ``data``, ``z``, ``metric``, ``value``."""
        return [
            {"model": who, "data": judged.name, "z": z, "metric": metric, "value": value}
            for who, scored in self.models.items()
            for judged, volume in zip(self.judged, scored.scores, strict=True)
            for z, values in volume.items()
            for metric, value in values.items()
        ]


def score_models(
    models: Sequence[ModelVersion],
    judged: Sequence[Judged],
    task: Task,
    settings: Settings,
    seed: int,
    folder: Path,
    progress: Progress | None,
) -> Judgement:
    """Score a candidate, and a champion if there is one, with the same job but for the package.

    Parameters
    ----------
    models
        The candidate first.
    folder
        For packages, jobs and results; must be empty.
    progress
        Told how many slices are scored, of both models together.

    Raises
    ------
    InputError
        A package is not what was registered, its evaluation fails, or the two would be scored on
        other pixels.
    """
    packages = [_fetch(model, settings, folder) for model in models]
    params = [load_params(file) for _, file in packages]
    _require_same_pixels(models, params)
    scored = [
        score_package(
            version_name(model), package,
            str(model.tags["emsam.weights_sha256"]),  # was compared when it was fetched
            judged, seed, folder / f"scores-{model.version}", _share(progress, at, len(models)),
        )
        for at, (model, package) in enumerate(zip(models, packages, strict=True))
    ]  # fmt: skip
    return Judgement(task, params[0], judged, scored[0], scored[1] if len(scored) > 1 else None)


def _fetch(model: ModelVersion, settings: Settings, folder: Path) -> tuple[Path, Path]:
    place = folder / f"package-{model.version}"
    place.mkdir()
    return fetch_package(model, settings, place)


def _require_same_pixels(models: Sequence[ModelVersion], params: Sequence[Params]) -> None:
    """What counts as unlabelled decides which pixels are scored."""
    if len({each.targets.unlabelled for each in params}) > 1:
        names = " and ".join(version_name(each) for each in models)
        raise InputError(
            f"{names} would be scored on other pixels: "
            "targets.unlabelled differs; train the candidate with the champion's value"
        )


def _share(progress: Progress | None, at: int, count: int) -> Progress | None:
    """Progress of one of ``count`` models, told as that of all."""
    if progress is None:
        return None
    return lambda done, total: progress(at * total + done, count * total)
