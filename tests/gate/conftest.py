"""A registry with a champion and candidates: real SQLite, run directories and training."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from emsam.data.store import Volume
from emsam.data.synthetic import synthesize_volume
from emsam.params import GateParams, MarginParams, load_params
from emsam.registry.client import open_client
from emsam.registry.models import CHAMPION, register_run
from emsam.registry.tracking import sync_run
from emsam.settings import Settings
from emsam.train.loop import train
from emsam.train.prepare import prepare_run
from emsam.train.run_directory import RunDirectory

_SMALL = (
    "data.name=tissue", "model.name=unet", "model.unet_widths=[4,8]", "train.batch_size=2",
    "train.patch=64", "train.learning_rate=0.01", "segment.tile=64", "segment.halo=16",
    "segment.min_size=5", "segment.threshold=0.2", "train.validate_slices=1",
)  # fmt: skip
GATE = GateParams(margins=MarginParams(voi_split_2d=0.5))
"""A model that joins everything has no splits, and a better one must have more."""


@dataclass
class Registry:
    """Two models of one volume.

    Attributes
    ----------
    volume, unseen
        What they learned from, and one of 30 test slices.
    poor, good
        Versions after 2 and after 150 steps.
    """

    settings: Settings
    volume: Volume
    unseen: Volume
    poor: ModelVersion
    good: ModelVersion

    @property
    def client(self) -> MlflowClient:
        return open_client(self.settings)

    def set_champion(self, version: ModelVersion | None) -> None:
        """Set the alias as a promotion would, or take it away."""
        if version is not None:
            self.client.set_registered_model_alias(version.name, CHAMPION, version.version)
        elif CHAMPION in self.client.get_registered_model(self.poor.name).aliases:
            self.client.delete_registered_model_alias(self.poor.name, CHAMPION)


def train_small(settings: Settings, name: str, *overrides: str) -> RunDirectory:
    """A trained and mirrored run."""
    params = load_params(overrides=[*_SMALL, *overrides])
    run = prepare_run(params, settings, settings.runs_root / name)
    train(run)
    sync_run(run, settings)
    return run


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    root = tmp_path_factory.mktemp("registry")
    settings = settings_below(root)
    volume = synthesize_volume("tissue", settings.volume_path("tissue"), shape=(24, 64, 64))
    unseen = all_test(settings, "unseen", seed=7)
    poor, good = (
        register_run(train_small(settings, f"steps-{steps}", f"train.steps={steps}"), settings)
        for steps in (2, 150)
    )
    return Registry(settings, volume, unseen, poor, good)


@pytest.fixture
def registry(trained: Registry) -> Registry:
    """The registry with the poor model as champion."""
    trained.set_champion(trained.poor)
    return trained


def all_test(settings: Settings, name: str, seed: int) -> Volume:
    """A volume of 31 slices, one of them missing, all of them for testing."""
    path = settings.volume_path(name)
    synthesize_volume(name, path, shape=(31, 64, 64), seed=seed)
    change_info(path, splits={"test": [0, 30]})
    return Volume(path)


def change_info(path: Path, **fields: object) -> None:
    """Change EM-SAM's own metadata of a store."""
    root = json.loads((path / "zarr.json").read_text())
    root["attributes"]["emsam"] |= fields
    (path / "zarr.json").write_text(json.dumps(root))


def settings_below(root: Path) -> Settings:
    """Everything below ``root``."""
    return Settings(
        home=root / "home", data_root=root / "data", runs_root=root / "runs", mlflow_uri=""
    )
