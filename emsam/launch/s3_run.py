"""A run directory's copy in S3: the way between a launcher and a trainer on another machine."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from emsam.documents import write_whole
from emsam.errors import InputError
from emsam.launch.s3_folder import S3Folder
from emsam.locks import hold_lock
from emsam.train.checkpoints import best_manifest
from emsam.train.run_directory import DONE, RunDirectory

_LEASE = "lease.json"
_STALE = 60.0
"""Seconds after which a lease that was not renewed is anybody's, at least."""


class S3Run:
    """A run directory and its copy.

    The launcher says what the job is, the trainer how far it came; each writes its own files.

    Parameters
    ----------
    address
        ``s3://bucket/…/<name of the run>``.
    """

    def __init__(self, run: RunDirectory, address: str) -> None:
        self._run, self._remote = run, S3Folder(address)
        self._sent: dict[str, tuple[int, int]] = {}
        self._got: dict[str, str] = {}
        self._job = [each.name for each in (run.params_file, run.inputs_file, run.tuned_file)]

    def send_job(self) -> None:
        """Send what the job is."""
        self._remote.upload(self._run.path, [n for n in self._job if (self._run.path / n).exists()])

    def fetch_job(self) -> None:
        """Fetch what the job is.

        Raises
        ------
        InputError
            Nobody sent a job to this address.
        """
        there = self._remote.etags()
        if self._run.inputs_file.name not in there:
            raise InputError(f"{self._remote.address}: no run here; check the address")
        self._remote.download(self._run.path, [name for name in self._job if name in there])

    def push(self) -> None:
        """Send the progress that was made since the last time; what is gone here goes there."""
        found = {name: _stamp(self._run.path / name) for name in self._progress()}
        self._remote.upload(
            self._run.path, [name for name, stamp in found.items() if self._sent.get(name) != stamp]
        )
        newest = max(map(_step_of, found), default=-1)
        old = [name for name in self._remote.etags() if 0 <= _step_of(name) < newest]
        self._remote.remove(name for name in old if name not in found)
        self._sent = found

    def _progress(self) -> Iterator[str]:
        run = self._run
        files = [run.metrics_file, run.log_file, run.status_file]
        for manifest in run.checkpoints.glob("step-*/manifest.json"):
            files += manifest.parent.iterdir()
        return (each.relative_to(run.path).as_posix() for each in files if each.is_file())

    def pull(self, *, checkpoint: bool = True, **marks: Any) -> dict[str, Any] | None:
        """Fetch the progress that was made there since the last time.

        The launcher and 'emsam jobs stop' may do so at once: one of them waits.

        Parameters
        ----------
        checkpoint
            Also the newest one and the best one, which may be large.
        marks
            Fields that the status gets besides.

        Returns
        -------
        dict or None
            The status there; ``None`` while there is none.
        """
        with hold_lock(self._run.path / ".pull.lock"):
            return self._pull(checkpoint, marks)

    def _pull(self, checkpoint: bool, marks: dict[str, Any]) -> dict[str, Any] | None:
        run, there = self._run, self._remote.etags()
        wanted = [each.name for each in (run.metrics_file, run.log_file)]
        if checkpoint:
            wanted += self._checkpoints_to_fetch(there)
        changed = [n for n in wanted if n in there and self._got.get(n) != there[n]]
        self._remote.download(run.path, changed)
        self._got |= {name: there[name] for name in changed}
        found = self._remote.read(run.status_file.name)
        if found is None:
            return None
        write_whole(run.status_file, json.dumps(found[0] | marks) + "\n")
        return dict(found[0])

    def _checkpoints_to_fetch(self, there: dict[str, str]) -> list[str]:
        """Files of those that are there in full: a manifest is sent last."""
        whole = [name.rpartition("/")[0] for name in there if name.endswith("/manifest.json")]
        manifests = {}
        for folder in sorted(whole, key=_step_of, reverse=True):
            if found := self._remote.read(f"{folder}/manifest.json"):
                manifests[folder] = found[0]
        chosen = {next(iter(manifests), None), best_manifest(manifests)}
        return [name for name in there if name.rpartition("/")[0] in chosen]

    def is_ahead(self) -> bool:
        """Whether the job came further there than here, or is done there and not all is here."""
        found = self._remote.read(self._run.status_file.name)
        if found is None:
            return False
        there, here = int(found[0]["step"]), int(self._run.status()["step"])
        missing = found[0]["state"] == DONE and not self._run.is_done()
        return there > here or (there == here and missing)

    @contextmanager
    def hold(self, holder: str, every: float) -> Iterator[threading.Event | None]:
        """Keep others from training the run, and send its progress again and again.

        The lease is renewed with every sending, and is anybody's when it was not for long: a
        machine that was taken away frees nothing. A further attempt of the same job takes it over.

        Yields
        ------
        threading.Event or None
            Set when the lease was lost; ``None`` if another holder has it.
        """
        etag = self._take(holder, stale=max(_STALE, 6 * every))
        if etag is None:
            yield None
            return
        lost, over = threading.Event(), threading.Event()
        keeper = threading.Thread(target=self._keep, args=(holder, etag, every, lost, over))
        keeper.start()
        try:
            yield lost
        finally:
            over.set()
            keeper.join()
            if not lost.is_set():
                self.push()
                self._remote.remove([_LEASE])

    def _take(self, holder: str, stale: float) -> str | None:
        found = self._remote.read(_LEASE)
        if found is None:
            return self._remote.replace(_LEASE, {"holder": holder}, None)
        document, etag, age = found
        if document["holder"] != holder and age < stale:
            return None
        return self._remote.replace(_LEASE, {"holder": holder, "after": etag}, etag)

    def _keep(
        self, holder: str, etag: str, every: float, lost: threading.Event, over: threading.Event
    ) -> None:
        beat = 0
        while not over.wait(every):
            beat += 1
            try:
                renewed = self._remote.replace(_LEASE, {"holder": holder, "beat": beat}, etag)
                if renewed is None:
                    lost.set()
                    return
                etag = renewed
                self.push()
            except (InputError, FileNotFoundError):  # S3 is away, or a checkpoint was just dropped
                continue


def _step_of(name: str) -> int:
    """Step of the checkpoint to which a file belongs; -1 of no checkpoint."""
    match = re.match(r"checkpoints/step-(\d+)", name)
    return int(match[1]) if match else -1


def _stamp(file: Path) -> tuple[int, int]:
    stat = file.stat()
    return stat.st_size, stat.st_mtime_ns
