"""What all tests share: empty laboratories, real commands, real EM data where it is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from emsam.quiet import QUIET_ENVIRONMENT
from tests.warm_start import run_warm

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # a shell's background job ignores Ctrl-C, and so would every command that a test interrupts
    signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"

TINY = (
    "model.name=unet", "model.unet_widths=[6, 8]", "train.steps=24", "train.batch_size=1",
    "train.patch=64", "train.validate_every=12", "train.checkpoint_every=4",
    "train.validate_slices=1", "segment.threshold=0.2", "segment.tile=64",
    "segment.halo=16", "evaluate.resamples=200",
)  # fmt: skip
"""Overrides that make the main job as small as it can be and still real: so few steps are sure of
no object, and a model that finds none is no champion, so the threshold is low."""


LONGEST = ("soak", "stack", "faults", "flows", "batch", "registry")
"""Folders of tests that wait for other processes for minutes."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first: a worker that begins one last would let the others wait."""

    def rank(item: pytest.Item) -> int:
        folder = item.path.relative_to(Path(__file__).parent).parts[0]
        return LONGEST.index(folder) if folder in LONGEST else len(LONGEST)

    items.sort(key=rank)


@dataclass
class Laboratory:
    """An empty git repository in which ``emsam`` commands run."""

    path: Path
    prefect_api: str = ""
    variables: dict[str, str] = field(default_factory=dict)
    """Added to the environment of each command."""

    @property
    def environment(self) -> dict[str, str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("EMSAM_", "PREFECT_"))}
        server = {"PREFECT_API_URL": self.prefect_api} if self.prefect_api else {}
        # two workers share two cores: threads that wait for each other would double the time
        quick = {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
        return clean | QUIET_ENVIRONMENT | server | quick | self.variables

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "emsam.cli", *arguments]

    def run(self, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        """Run an ``emsam`` command and require its exit status."""
        done = run_warm("emsam.cli", list(arguments), self.path, self.environment)
        assert done.returncode == status, f"{arguments}: {done.stdout}\n{done.stderr}"
        return done

    def json(self, *arguments: str) -> Any:
        """Run an ``emsam`` command with ``--json`` and parse what it prints."""
        return json.loads(self.run(*arguments, "--json").stdout)

    def git(self, *arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=self.path, capture_output=True, text=True, check=True
        ).stdout.strip()

    def files(self) -> set[str]:
        """Every file and folder outside ``.git``."""
        return {
            path.relative_to(self.path).as_posix()
            for path in self.path.rglob("*")
            if ".git" not in path.relative_to(self.path).parts
        }


def make_laboratory(path: Path) -> Laboratory:
    """A git repository with one commit and nothing of ours in it."""
    path.mkdir(parents=True, exist_ok=True)
    lab = Laboratory(path)
    lab.git("init", "--quiet", "--initial-branch", "main")
    lab.git("config", "user.name", "Ada")
    lab.git("config", "user.email", "ada@lab.example")
    (path / ".gitignore").write_text("/data/\n/runs/\n/.emsam/\n")
    lab.git("add", ".")
    lab.git("commit", "--quiet", "-m", "A laboratory")
    return lab


@pytest.fixture
def lab(tmp_path: Path) -> Laboratory:
    return make_laboratory(tmp_path / "lab")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real EM data beside the checkout; tests that need it are skipped without it."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no real EM data at {SHARED_DATA}")
    return SHARED_DATA


def overrides(*items: str) -> list[str]:
    """``--set`` options of the tiny job, later items winning."""
    return [part for item in (*TINY, *items) for part in ("--set", item)]
