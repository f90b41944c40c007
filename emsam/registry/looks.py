"""How often the slices of a split were looked at: each look is a chance to be lucky on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import func, insert, select
from sqlalchemy.exc import IntegrityError

from emsam.data.digest import file_sha256
from emsam.data.store import Volume
from emsam.model.package import package_digest
from emsam.registry.database import Database
from emsam.registry.ledger import actor, now
from emsam.registry.names import version_name
from emsam.registry.tables import LOOKS
from emsam.settings import Settings
from emsam.train.run_directory import RunDirectory

if TYPE_CHECKING:  # a machine that only trains and evaluates has no MLflow
    from mlflow.entities.model_registry import ModelVersion

EVALUATE, GATE = "evaluate", "gate"
TEST = "test"
"""The split whose looks are counted wherever they are taken."""


@dataclass(frozen=True)
class LookCount:
    """Looks at the slices of a split.

    Attributes
    ----------
    models
        Different packages that were scored on them.
    """

    digest: str
    split: str
    models: int


def record_look(
    digest: str,
    split: str,
    settings: Settings,
    *,
    model: str,
    package: str,
    purpose: str,
    by: str = "",
) -> bool:
    """Note that a model is scored on the slices of a split.

    Parameters
    ----------
    digest
        Of the data set version.
    model
        ``NAME/VERSION`` or a run directory.
    package
        Digest of its weights and post-processing, :func:`~emsam.model.package.package_digest`.
    purpose
        ``gate`` or ``evaluate``.
    by
        Who looks; by default the user's login name.

    Returns
    -------
    bool
        Whether it is a new look: a model with the same package that looks again is none.
    """
    row = {
        "digest": digest, "split": split, "model": model, "package": package,
        "purpose": purpose, "by": actor(by), "at": now(),
    }  # fmt: skip
    try:
        with Database(settings).begin() as connection:
            connection.execute(insert(LOOKS), row)
    except IntegrityError:
        return False
    return True


def count_looks(digest: str, split: str, settings: Settings) -> int:
    """How many different packages were scored on the slices of a split.

    A run and the version that was registered from it are one package.
    """
    return sum(each.models for each in looks_at([digest], settings) if each.split == split)


def looks_of(name: str, settings: Settings) -> list[LookCount]:
    """Counts of all splits that versions of a model were scored on."""
    mine = select(LOOKS.c.digest).where(LOOKS.c.model.startswith(f"{name}/", autoescape=True))
    with Database(settings).read() as connection:
        digests = sorted(set(connection.execute(mine).scalars()))
    return looks_at(digests, settings)


def looks_at(digests: list[str], settings: Settings) -> list[LookCount]:
    """Counts of the splits of data set versions."""
    count = func.count(LOOKS.c.package.distinct())
    query = (
        select(LOOKS.c.digest, LOOKS.c.split, count)
        .where(LOOKS.c.digest.in_(digests))
        .group_by(LOOKS.c.digest, LOOKS.c.split)
        .order_by(LOOKS.c.digest, LOOKS.c.split)
    )
    with Database(settings).read() as connection:
        return [LookCount(*row) for row in connection.execute(query)]


def count_run_look(
    run: RunDirectory, volume: Volume, digest: str, split: str, settings: Settings
) -> None:
    """Note that the judged checkpoint of a run is about to be evaluated.

    Raises
    ------
    InputError
        It cannot be: no checkpoint, no such slices, no labels.
    """
    params = run.model_params()
    volume.require_task(params.task)
    volume.slices(split, params.task)
    weights = run.judged_checkpoint() / "model.safetensors"
    package = package_digest(file_sha256(weights), params)
    record_look(
        digest, split, settings, model=str(run.path), package=package, purpose=EVALUATE
    )  # fmt: skip


def count_version_look(
    found: ModelVersion, digest: str, split: str, settings: Settings, purpose: str
) -> None:
    """Note that a registered version is about to be scored."""
    model = version_name(found)
    package = found.tags.get("emsam.package", model)
    record_look(digest, split, settings, model=model, package=package, purpose=purpose)


def count_gate_look(
    candidate: ModelVersion, champion: ModelVersion | None, digest: str, split: str,
    settings: Settings,
) -> int:  # fmt: skip
    """Note the look that a gate takes, at candidate and champion; returns how many there are."""
    for version in (candidate, champion):
        if version is not None:
            count_version_look(version, digest, split, settings, GATE)
    return count_looks(digest, split, settings)
