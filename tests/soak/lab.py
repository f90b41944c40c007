"""The laboratory of the soak: a stack on a disk of its own, every process of which is known."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from emsam.credentials import read_secrets
from emsam.processes import find_process, is_alive, with_children
from emsam.services import read_state
from emsam.settings import Settings
from emsam.stack.seaweed import DATASETS, admin_client
from emsam.stack.web import ask
from tests.conftest import Laboratory, make_laboratory
from tests.faults.door import OPEN, Door
from tests.ports import free_ports
from tests.processes import kill_all
from tests.s3_server import S3Server, run_s3_server

MARK = "EMSAM_SOAK"
"""Variable that every process of the laboratory inherits; its value is the laboratory's folder."""
TEAM = "team"
_DISK = 8192
"""Megabytes of the disk while it is not full; memory is used only for what is written."""
_COMMAND = 420.0
"""Seconds that an ``emsam`` command may take, which may wait for services that are paused."""

Identity = tuple[int, float]
"""Process id and start (Unix time)."""


@dataclass
class SoakLab(Laboratory):
    """A laboratory with a stack.

    Attributes
    ----------
    profile
        ``"local"`` (SQLite, with DVC's remote on an S3 server behind ``door``) or ``"team"``.
    has_disk
        Whether the folder is a disk of its own, which can be filled.
    seen
        Every process of the laboratory that was ever seen, and its command.
    """

    profile: str = "local"
    ports: dict[str, int] = field(default_factory=dict)
    has_disk: bool = False
    door: Door | None = None
    s3: S3Server | None = None
    seen: dict[Identity, str] = field(default_factory=dict)
    _others: set[Identity] = field(default_factory=set)
    _looking: threading.Lock = field(default_factory=threading.Lock)

    @property
    def settings(self) -> Settings:
        return Settings(
            home=self.path / ".emsam", data_root=self.path / "data", runs_root=self.path / "runs",
            slots=self.path / "slots", **self.ports,
        )  # fmt: skip

    def emsam(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run an ``emsam`` command as a user would, whatever comes of it."""
        command = self.command(*words)
        try:
            return subprocess.run(
                command, cwd=self.path, env=self.environment, capture_output=True, text=True,
                timeout=_COMMAND, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(command, -1, "", f"no end in {_COMMAND:.0f} s")

    def ask(self, method: str, path: str, document: Any = None) -> Any:
        """A call of Prefect's REST interface."""
        settings = self.settings
        url = f"http://127.0.0.1:{settings.prefect_port}/api{path}"
        team = self.profile == TEAM
        auth = read_secrets(settings).value("prefect_api_auth_string") if team else ""
        return ask(method, url, document, auth)

    def bucket(self) -> tuple[Any, str, str]:
        """Client, bucket and prefix of DVC's remote."""
        if self.profile == TEAM:
            return admin_client(self.settings), DATASETS, ""
        assert self.s3 is not None
        return self.s3.client(), "emsam", "dvc/"

    # -- processes ------------------------------------------------------------------------------

    def processes(self) -> list[psutil.Process]:
        """Live processes of the laboratory: those with its mark, and those that work in it."""
        found = []
        with self._looking:
            for process in psutil.process_iter():
                with suppress(psutil.Error, OSError):
                    if self._is_ours(process) and is_alive(process):
                        found.append(process)
        return found

    def _is_ours(self, process: psutil.Process) -> bool:
        identity = (process.pid, process.create_time())
        if identity in self._others:
            return False
        line = " ".join(process.cmdline())
        if identity not in self.seen:
            here = str(self.path)
            mark = process.environ().get(MARK) == here
            if not mark and not Path(process.cwd()).is_relative_to(here):
                if process.ppid() != os.getpid():  # one that is about to become a command of ours
                    self._others.add(identity)
                return False
        self.seen[identity] = line  # a fork has its parent's command at first
        return True

    def service_processes(self, name: str) -> list[psutil.Process]:
        """The process of a service that was started, then what it started."""
        running = read_state(self.settings.home).services.get(name)
        if running is None:
            return []
        leader = find_process({"pid": running.pid, "pid_started": running.started})
        return with_children(leader) if leader else []


@contextmanager
def soak_lab(profile: str) -> Iterator[SoakLab]:
    """A laboratory with a small git repository; nothing of it is left afterwards."""
    with ExitStack() as after:
        # not below a folder that is closed to the user who runs PostgreSQL for root
        root = Path(tempfile.mkdtemp(prefix="emsam-soak-")).resolve()
        after.callback(shutil.rmtree, root, ignore_errors=True)
        root.chmod(0o755)
        disk = root / "disk"
        disk.mkdir()
        has_disk = _mount(disk)
        if has_disk:
            after.callback(subprocess.run, ["umount", "--lazy", str(disk)], check=False)
        make_laboratory(disk / "lab")
        with (disk / "lab" / ".gitignore").open("a") as stream:
            stream.write("/slots/\n/tmp/\n")
        lab = SoakLab(disk / "lab", profile=profile, has_disk=has_disk)
        lab.git("commit", "--quiet", "--all", "-m", "What the soak makes")
        (lab.path / "tmp").mkdir()
        after.callback(_end, lab)
        _set_variables(lab)
        if profile != TEAM:
            _serve_s3(lab, root, after)
        yield lab


def _mount(folder: Path) -> bool:
    size = f"size={_DISK}m"
    mount = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)]
    return subprocess.run(mount, capture_output=True).returncode == 0


def _set_variables(lab: SoakLab) -> None:
    names = ["prefect", "mlflow", "dashboard", *(["postgres"] if lab.profile == TEAM else [])]
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    if lab.profile == TEAM:
        ports["s3"] = free_ports(5)[0]
    lab.ports = {f"{name}_port": port for name, port in ports.items()}
    lab.variables = {
        **{f"EMSAM_{name.upper()}": str(port) for name, port in lab.ports.items()},
        MARK: str(lab.path),
        "EMSAM_POOLS": "cpu",
        "EMSAM_CPU_SLOTS": "2",
        "EMSAM_SYNC_SECONDS": "2",
        "EMSAM_SLOTS": str(lab.path / "slots"),
        "TMPDIR": str(lab.path / "tmp"),
    }


def _serve_s3(lab: SoakLab, root: Path, after: ExitStack) -> None:
    """DVC's remote of the local profile."""
    folder = root / "s3"
    folder.mkdir()
    lab.s3 = after.enter_context(run_s3_server(folder))
    lab.door = Door(lab.s3.port)
    after.callback(lab.door.close)
    lab.door.turn(OPEN)
    lab.variables |= lab.s3.environment(f"http://127.0.0.1:{lab.door.port}")
    lab.variables["EMSAM_DVC_REMOTE"] = "s3://emsam/dvc"


def _end(lab: SoakLab) -> None:
    """Nothing is left, whatever happened."""
    kill_all(lab.processes())
