"""What a newcomer types first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Laboratory

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]


def make_demo(clone: Laboratory) -> str:
    """``make demo`` with the environment that these tests run in; returns what it prints."""
    done = subprocess.run(
        ["make", "demo", f"BIN={Path(sys.executable).parent}", "--assume-old=.venv/.ready"],
        cwd=clone.path, env=clone.environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_make_demo_on_a_clone_ends_with_a_champion_and_repeats_nothing(tmp_path: Path) -> None:
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(tmp_path / "clone")], check=True)
    clone = Laboratory(tmp_path / "clone")
    printed = make_demo(clone)
    assert "arand_contest_2d" in printed
    assert "champion  emsam-neurites/1" in printed
    assert "dashboard  make dashboard" in printed
    assert clone.git("status", "--porcelain") == ""
    (metrics,) = (clone.path / "runs").glob("*/metrics.jsonl")
    before = metrics.stat().st_mtime_ns
    assert "champion  emsam-neurites/1" in make_demo(clone)
    assert metrics.stat().st_mtime_ns == before
