"""A command that is forked from imported libraries is the one that a terminal starts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Laboratory
from tests.warm_start import run_warm

ODD = """
import atexit, json, os, signal, sys, threading

def late():
    threading.main_thread().join()
    print("thread")

atexit.register(lambda: print("last", flush=True))
threading.Thread(target=late).start()
print(json.dumps([sys.argv, os.getcwd(), dict(os.environ), sys.path[0], __name__]))
print(sys.stdin.read(), "emsam.errors" in sys.modules, file=sys.stderr)
print(signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), os.getpgid(0))
print(sorted(os.listdir("/proc/self/fd")), sys.stdout.isatty(), sys.flags, sys.executable)
for word in sys.argv[1:]:
    exec(word)
"""


def both(
    lab: Laboratory, module: str, *arguments: str, **variables: str
) -> list[subprocess.CompletedProcess[str]]:
    """The same command, forked and fresh."""
    environment = lab.environment | variables
    words = [sys.executable, "-m", module, *arguments]
    fresh = subprocess.run(
        words, cwd=lab.path, env=environment, capture_output=True, text=True,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return [run_warm(module, list(arguments), lab.path, environment), fresh]


@pytest.mark.parametrize(
    "word",
    [
        "pass",
        "sys.exit(75)",
        "sys.exit('said')",
        "1 / 0",
        "os._exit(9)",
        "os.kill(os.getpid(), signal.SIGKILL)",
        "os.kill(os.getpid(), signal.SIGTERM)",
    ],
)
def test_folder_variables_output_and_end_are_those_of_a_fresh_process(
    lab: Laboratory, word: str
) -> None:
    (lab.path / "odd.py").write_text(ODD)
    forked, fresh = both(lab, "odd", word, EMSAM_HOME="elsewhere")
    assert (forked.returncode, forked.stdout) == (fresh.returncode, fresh.stdout)
    # the traceback of one goes through the file that forks
    assert forked.stderr.splitlines()[-1:] == fresh.stderr.splitlines()[-1:]


@pytest.mark.slow
def test_commands_say_the_same(lab: Laboratory) -> None:
    lab.run("data", "synthetic", "tiny", "--shape", "8,64,64")
    begun = lab.run("registry", "log", "emsam-neurites", status=2)
    assert "INFO mlflow.store.db.utils: Creating initial MLflow database" in begun.stderr
    for words in (
        ["--help"],
        ["data", "check", "tiny", "--json"],
        ["data", "log", "tiny"],
        ["train", "--data", "nowhere"],
        ["model", "info", "--json", "--set", "model.name=unet"],
        ["registry", "log", "emsam-neurites"],
        ["jobs", "--json"],
    ):
        forked, fresh = both(lab, "emsam.cli", *words)
        assert forked.returncode == fresh.returncode
        assert forked.stdout == fresh.stdout
        assert forked.stderr == fresh.stderr


def test_what_python_itself_reads_when_it_starts_is_heeded(lab: Laboratory) -> None:
    (lab.path / "mine").mkdir()
    (lab.path / "mine" / "sitecustomize.py").write_text("print('mine')")
    forked, fresh = both(lab, "emsam.cli", "--help", PYTHONPATH=str(Path("mine")))
    assert forked.stdout == fresh.stdout
    assert forked.stdout.startswith("mine")
