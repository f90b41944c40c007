"""A lab with two runs and a champion: real SQLite, real run directories, real training."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

import pytest
from streamlit import config

from dashboards.queries.runs import list_runs
from emsam.data.synthetic import synthesize_volume
from emsam.errors import NotPromoted
from emsam.params import load_params
from emsam.registry.client import open_client
from emsam.registry.gate import decide
from emsam.registry.models import register_run
from emsam.registry.promotion import apply_decision
from emsam.registry.tracking import sync_run
from emsam.settings import Settings
from emsam.train.evaluation import evaluate_run
from emsam.train.loop import train
from emsam.train.prepare import prepare_run
from emsam.train.run_directory import RunDirectory
from tests.dashboards.review_lab import make_review_lab
from tests.registry.workers import make_decision

ODD_NAME = "odd <b>$x$ *bold*"
"""A run name that a page must not take for HTML or Markdown."""
_SMALL = (
    "data.name=tiny",
    "model.name=unet",
    "model.unet_widths=[4,8]",
    "train.batch_size=1",
    "train.patch=64",
    "segment.tile=64",
    "segment.halo=16",
    "segment.min_size=5",
    "segment.threshold=0.2",  # so that two steps are enough to predict something
    "evaluate.block=1",
    "evaluate.resamples=100",
)


@pytest.fixture
def odd_name() -> str:
    """Name of the second run."""
    return ODD_NAME


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Runs ``first`` (champion) and :data:`ODD_NAME`, both scored on the volume ``tiny``."""
    settings = folders(tmp_path_factory.mktemp("lab"))
    volume = synthesize_volume("tiny", settings.volume_path("tiny"), shape=(10, 64, 64))
    for name, steps in (("first", 2), (ODD_NAME, 3)):
        params = load_params(overrides=[*_SMALL, f"train.steps={steps}"])
        run = prepare_run(params, settings, settings.runs_root / name)
        train(run)
        evaluate_run(run, volume, "test")
        sync_run(run, settings)
        if name == "first":
            found = list_runs(settings)[0].run_id
            open_client(settings).set_tag(found, "night", "shift 7")
            candidate = register_run(run, settings)
            apply_decision(decide(candidate, [(volume, "test")], settings), settings)
    return settings


@pytest.fixture
def in_lab(lab: Settings) -> Iterator[Settings]:
    """The lab, as the environment of a dashboard."""
    with environment(lab):
        yield lab


@pytest.fixture(scope="session")
def review_lab(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """What :func:`make_review_lab` makes; no test may write to it."""
    settings = folders(tmp_path_factory.mktemp("review"))
    make_review_lab(settings)
    return settings


@pytest.fixture
def undecided(lab: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """A registry of its own: version 1 is champion, and a decision for version 2 waits."""
    shutil.copytree(lab.runs_root, tmp_path / "runs", ignore=shutil.ignore_patterns(".mlflow*"))
    settings = lab.model_copy(update={"home": tmp_path / "home", "runs_root": tmp_path / "runs"})
    for name in ("first", ODD_NAME):
        run = RunDirectory(settings.runs_root / name)
        sync_run(run, settings)
        register_run(run, settings)
    assert apply_decision(make_decision(1, None), settings, by="Grace")
    with suppress(NotPromoted):
        apply_decision(make_decision(2, 1), settings.model_copy(update={"approval": "required"}))
    monkeypatch.setenv("EMSAM_APPROVAL", "required")
    with environment(settings):
        yield settings


@pytest.fixture
def empty_lab(tmp_path: Path) -> Iterator[Settings]:
    """A lab in which nothing was done yet."""
    settings = folders(tmp_path)
    with environment(settings):
        yield settings


@pytest.fixture
def cut_off(lab: Settings) -> Iterator[Settings]:
    """The lab, with the address of a server that is not there; its password must not be shown."""
    settings = lab.model_copy(update={"mlflow_uri": "http://anna:secret@127.0.0.1:1"})
    with environment(settings):
        yield settings


@pytest.fixture(autouse=True)
def listens_here() -> Iterator[None]:
    """As `make dashboard` and `emsam up` start the app."""
    before = config.get_option("server.address")
    config.set_option("server.address", "127.0.0.1")
    yield
    config.set_option("server.address", before)


def folders(root: Path, home: str = "home") -> Settings:
    """Settings with everything below ``root``."""
    return Settings(
        home=root / home, data_root=root / "data", runs_root=root / "runs", mlflow_uri=""
    )


def environment(settings: Settings) -> patch.dict:
    """The variables from which a page reads these settings."""
    names = ("home", "data_root", "runs_root", "mlflow_uri")
    return patch.dict(os.environ, {f"EMSAM_{n.upper()}": str(getattr(settings, n)) for n in names})
