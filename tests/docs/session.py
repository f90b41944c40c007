"""Runs ``emsam`` commands one after the other, each in a fork of a process that has imported all.

What a command does is what it does in a shell; the seconds of imports are paid once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.conftest import Laboratory


class Session:
    """A process in a laboratory's folder that forks for each command."""

    def __init__(self, lab: Laboratory) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.docs.session", str(lab.path)],
            cwd=Path(__file__).parents[2], env=lab.environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def run(self, arguments: Sequence[str], environment: dict[str, str]) -> str:
        """What the command prints; it must end with status 0."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([arguments, environment]), file=self._process.stdin, flush=True)
        status, printed = json.loads(self._process.stdout.readline())
        assert status == 0, f"emsam {' '.join(arguments)}: {printed}"
        return str(printed)

    def close(self) -> None:
        self._process.kill()  # it only waits for the next command
        self._process.communicate()


def main() -> None:
    """Serve the process's stdin: a line of JSON a command."""
    import mlflow  # noqa: F401
    import skimage.segmentation  # noqa: F401
    import torch  # noqa: F401

    import emsam.registry.gate
    import emsam.segment.blocks.run
    import emsam.train.evaluation  # noqa: F401

    os.chdir(sys.argv[1])
    assert threading.active_count() == 1, "threads do not survive a fork"
    for line in sys.stdin:
        arguments, environment = json.loads(line)
        log = Path(".session.log")
        child = os.fork()
        if child == 0:
            _run(arguments, environment, log)
        _, status = os.waitpid(child, 0)
        print(json.dumps([os.waitstatus_to_exitcode(status), log.read_text()]), flush=True)


def _run(arguments: list[str], environment: dict[str, str], log: Path) -> Any:
    """Become ``emsam``; never returns."""
    from emsam.cli import main as emsam

    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.update(environment)
    sys.argv = ["emsam", *arguments]
    status = 1
    try:
        emsam()
        status = 0
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main()
