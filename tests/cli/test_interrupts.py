"""Ctrl-C and SIGTERM at an awkward moment end a command as at any other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.conftest import Laboratory

WHILE_A_CLASS_IS_MADE = """
import dataclasses, os, signal, sys

def interrupt(frame, event, argument):
    by_exec = frame.f_code.co_name == "<module>"
    of_dataclasses = frame.f_back and frame.f_back.f_code.co_filename == dataclasses.__file__
    if by_exec and of_dataclasses and "emsam.params" in sys.modules:
        sys.settrace(None)
        os.kill(os.getpid(), signal.SIGINT)

sys.settrace(interrupt)
"""


def test_ctrl_c_while_python_makes_a_class_is_status_130(lab: Laboratory, tmp_path: Path) -> None:
    folder = tmp_path / "injected"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(WHILE_A_CLASS_IS_MADE)
    done = subprocess.run(
        lab.command("train", "--data", "tiny"), cwd=lab.path, capture_output=True, text=True,
        env=lab.environment | {"PYTHONPATH": str(folder)},
    )  # fmt: skip
    assert done.stderr == "emsam: interrupted; run the same command again to go on\n"
    assert done.returncode == 130


WHILE_A_LIBRARY_RUNS_A_TEXT = """
import sys

def interrupt(frame, event, argument):
    if frame.f_code.co_name == "_take":
        sys.settrace(None)
        exec("import os, signal; os.kill(os.getpid(), signal.SIGTERM)")

sys.settrace(interrupt)
"""


def test_sigterm_while_a_library_runs_a_text_is_a_stopped_job(
    lab: Laboratory, tmp_path: Path
) -> None:
    folder = tmp_path / "injected"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(WHILE_A_LIBRARY_RUNS_A_TEXT)
    done = subprocess.run(
        [sys.executable, "-m", "emsam.launch.batch_job", "s3://lab/runs/job"],
        cwd=lab.path, capture_output=True, text=True,
        env=lab.environment | {"PYTHONPATH": str(folder), "AWS_DEFAULT_REGION": "us-east-1"},
    )  # fmt: skip
    assert done.returncode == 75, done.stderr
