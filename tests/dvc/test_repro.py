"""``dvc repro`` on a clean clone, without Prefect and without MLflow."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import Laboratory, make_laboratory

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Laboratory:
    """The project's own graph and parameters, the latter made tiny."""
    lab = make_laboratory(tmp_path_factory.mktemp("clone"))
    for name in ("dvc.yaml", ".dvcignore", ".gitignore", "emsam"):
        source, target = ROOT / name, lab.path / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    shutil.copytree(ROOT / ".dvc", lab.path / ".dvc", ignore=shutil.ignore_patterns("tmp", "cache"))
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["data"]["shape"] = [12, 64, 64]
    params["model"] = {"name": "unet", "unet_widths": [4, 8]}
    params["train"] |= {"steps": 4, "patch": 64, "batch_size": 1}
    params["segment"] |= {"tile": 64, "halo": 16}
    (lab.path / "params.yaml").write_text(yaml.safe_dump(params))
    lab.git("add", ".")
    lab.git("commit", "--quiet", "-m", "The graph")
    return lab


def repro(lab: Laboratory) -> list[str]:
    """Run ``dvc repro``; returns the stages that ran."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "repro"], cwd=lab.path, capture_output=True, text=True,
        env=lab.environment | {"PATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    return [line.split("'")[1] for line in lines if line.startswith("Running stage")]


def change(lab: Laboratory, section: str, key: str, value: object) -> None:
    params = yaml.safe_load((lab.path / "params.yaml").read_text())
    params[section][key] = value
    (lab.path / "params.yaml").write_text(yaml.safe_dump(params))


def test_repro_runs_what_changed_and_nothing_else(clone: Laboratory) -> None:
    assert repro(clone) == ["ingest", "train", "evaluate"]
    scores = json.loads((clone.path / "runs/repro/scores.json").read_text())
    assert scores["sets"][0]["split"] == "test"
    # the look at test slices is counted; nothing of Prefect and MLflow
    assert [each.name for each in (clone.path / ".emsam").iterdir()] == ["ledger.db"]
    assert repro(clone) == []

    change(clone, "segment", "threshold", 0.4)
    assert repro(clone) == ["evaluate"]

    change(clone, "model", "unet_widths", [6, 8])
    assert repro(clone) == ["train", "evaluate"]
    other = json.loads((clone.path / "runs/repro/scores.json").read_text())

    change(clone, "model", "unet_widths", [4, 8])  # DVC has these checkpoints still
    repro(clone)
    assert checkpoint_widths(clone) == [4, 8]
    again = json.loads((clone.path / "runs/repro/scores.json").read_text())
    assert again["sets"][0]["key"] != other["sets"][0]["key"]
    clone.run("evaluate", "runs/repro", "--data", "demo", "--split", "val")


def checkpoint_widths(lab: Laboratory) -> list[int]:
    (params,) = lab.path.glob("runs/repro/checkpoints/*/params.yaml")
    widths: list[int] = yaml.safe_load(params.read_text())["model"]["unet_widths"]
    return widths
