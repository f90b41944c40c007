"""Commands in processes of their own that need not import the libraries first.

``emsam`` is real in them: a process with its own folder, environment, output, exit status and
signals, which imports all of EM-SAM itself. What it finds imported are libraries that read nothing
of the environment, in the memory of the process that it was forked from. Run as a script this file
is that process; it ends with the tests that started it.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

LIBRARIES = (
    "numpy", "scipy.ndimage", "scipy.spatial", "scipy.sparse.csgraph", "skimage.morphology",
    "skimage.segmentation", "torch", "torch._dynamo", "safetensors.torch", "lightning_fabric",
    "zarr", "h5py", "tifffile", "imagecodecs", "PIL.Image", "pydantic", "pydantic_settings",
    "yaml", "psutil", "typer", "rich.progress", "rich.table", "sqlalchemy", "alembic.command",
    "pandas", "pyarrow", "mlflow", "mlflow.store.tracking.sqlalchemy_store", "mlflow.pyfunc",
    "mlflow.store.model_registry.sqlalchemy_store", "fastapi", "httpx", "boto3", "optuna",
)  # fmt: skip
"""Imported before a command begins. Prefect and DVC read the environment when they are imported."""
OWN = (
    "EMSAM_", "AWS_", "PREFECT_", "XDG_CACHE_HOME", "PYTEST_CURRENT_TEST",
    "MLFLOW_HTTP_REQUEST_", "no_proxy",
)  # fmt: skip
"""Variables, by how they begin, that nothing of the above reads while it is imported."""


class WarmStart:
    """The process that commands are forked from; started when it is first needed."""

    def __init__(self) -> None:
        self._line: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._environment: dict[str, str] = {}
        self._lock = threading.Lock()

    def suits(self, environment: Mapping[str, str]) -> bool:
        """Whether a command with this environment would find the libraries as it imports them."""
        return not self._environment or _shared(environment) == self._environment

    def run(
        self, module: str, arguments: list[str], cwd: Path, environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """``python -m MODULE ARGUMENTS``, as :func:`subprocess.run` would run it."""
        told = {"module": module, "arguments": arguments, "cwd": str(cwd), "env": dict(environment)}
        (out, out_end), (err, err_end), (code, code_end) = (os.pipe() for _ in range(3))
        try:
            with self._lock:
                line = self._start(environment)
                socket.send_fds(line, [json.dumps(told).encode()], [out_end, err_end, code_end])
        finally:
            for end in (out_end, err_end, code_end):
                os.close(end)
        with open(out) as stdout, open(err) as stderr, open(code) as status:
            said: list[str] = []
            reader = threading.Thread(target=lambda: said.append(stderr.read()))
            reader.start()
            printed = stdout.read()
            reader.join()
            ended = status.read()
        assert ended, "the process that commands are forked from has died"
        words = [sys.executable, "-m", module, *arguments]
        return subprocess.CompletedProcess(words, int(ended), printed, said[0])

    def _start(self, environment: Mapping[str, str]) -> socket.socket:
        if self._line is None:
            self._environment = _shared(environment)
            self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, __file__, str(theirs.fileno())],
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                    env=self._environment, pass_fds=[theirs.fileno()],
                )  # fmt: skip
        return self._line


_WARM_START = WarmStart()
"""One for each process that runs tests."""


def run_warm(
    module: str, arguments: list[str], cwd: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """``python -m MODULE ARGUMENTS`` with its output caught; quick where that changes nothing."""
    if _WARM_START.suits(environment):
        return _WARM_START.run(module, arguments, cwd, environment)
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=cwd, env=dict(environment), capture_output=True, text=True,
    )  # fmt: skip


def _shared(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not name.startswith(OWN)}


class _Command:
    """What a forked process is to run."""

    def __init__(self, message: bytes, descriptors: list[int]) -> None:
        told = json.loads(message)
        self._module, self._arguments = told["module"], told["arguments"]
        self._cwd, self._environment = told["cwd"], told["env"]
        self._out, self._err, self.status = descriptors

    def become(self) -> None:
        """Be what ``python -m MODULE`` is when it begins."""
        for descriptor, name in ((self._out, 1), (self._err, 2)):
            os.dup2(descriptor, name)
        self.close()
        os.chdir(self._cwd)
        os.environ.clear()
        os.environ.update(self._environment)
        sys.path[0] = self._cwd
        sys.argv[1:] = self._arguments
        sys.orig_argv[1:] = ["-m", self._module, *self._arguments]

    def run(self) -> None:
        """Run and end as Python does, but for taking the libraries apart, which takes a second."""
        code: object = 0
        try:
            runpy.run_module(self._module, run_name="__main__", alter_sys=True)
        except SystemExit as end:
            code = end.code
        except BaseException:
            sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
            code = 1
        if not isinstance(code, int | None):
            print(code, file=sys.stderr)
            code = 1
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code or 0)

    def close(self) -> None:
        for descriptor in (self._out, self._err, self.status):
            os.close(descriptor)


def _serve(line: socket.socket) -> _Command | None:
    """Fork for each command; returns it in the process that is to run it, ``None`` in the end."""
    running: dict[int, tuple[int, int]] = {}
    while True:
        ready, _, _ = select.select([line, *running], [], [])
        for ended in set(ready) - {line}:
            pid, status = running.pop(ended)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            os.write(status, str(code).encode())
            os.close(status)
            os.close(ended)
        if line not in ready:
            continue
        message, descriptors, _, _ = socket.recv_fds(line, 1 << 20, 3)
        if not message:
            return None
        command = _Command(message, descriptors)
        pid = os.fork()
        if pid == 0:
            line.close()
            for ended, (_, status) in running.items():
                os.close(ended)
                os.close(status)
            command.become()
            return command
        running[os.pidfd_open(pid)] = (pid, os.dup(command.status))
        command.close()


if __name__ == "__main__":
    for library in LIBRARIES:
        importlib.import_module(library)
    gc.collect()
    gc.freeze()
    threads = [each.read_text().strip() for each in Path("/proc/self/task").glob("*/comm")]
    threads = [name for name in threads if name != "jemalloc_bg_thd"]  # pyarrow's; begun anew
    assert len(threads) == 1, f"a fork would lose threads: {threads}"
    if command := _serve(socket.socket(fileno=int(sys.argv[1]))):
        command.run()
