"""What goes wrong in a soak, and when: a schedule that follows from a seed, and its execution."""

from __future__ import annotations

import math
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

import psutil

from tests.dvc.small_disk import used
from tests.faults.door import MUTE, OPEN, SHUT
from tests.processes import words_of
from tests.soak.lab import TEAM, SoakLab

KILL, PAUSE, DISK, STORE, MACHINE = "kill", "pause", "disk full", "s3 away", "machine"
_PROGRAMS = {
    "engine": "prefect.engine",
    "trainer": "emsam.train",
    "judge": "emsam.train.judge",
    "dvc": "dvc",
}
"""Processes of a run, by a word of their command line."""
_LONG = 75.0
"""Seconds of the longest pause, after which Prefect takes a slot's lease for ended."""


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes
    ----------
    gap
        Seconds since the fault before.
    seconds
        How long it lasts; of a kill, how long nobody starts the service again.
    delay
        Seconds between a process's start, if it was waited for, and the fault.
    dice
        In [0, 1): which of several, and how.
    """

    gap: float
    kind: str
    target: str
    seconds: float
    delay: float
    dice: float


def full_deck(profile: str) -> list[tuple[str, str]]:
    """Every kind of fault with every target of it."""
    stores = ["postgres", "s3"] if profile == TEAM else []
    services = ["prefect", "mlflow", "worker-cpu", "dashboard", *stores]
    deck = [(kind, target) for kind in (KILL, PAUSE) for target in (*services, *_PROGRAMS)]
    return [*deck, (DISK, ""), (DISK, ""), (STORE, ""), (STORE, ""), (MACHINE, "")]


def short_deck(profile: str) -> list[tuple[str, str]]:
    """Every kind of fault once; the machine's takes all services with it."""
    return [
        (STORE, ""), (KILL, "trainer"), (DISK, ""), (KILL, "engine"), (PAUSE, "mlflow"),
        (MACHINE, ""), (PAUSE, "trainer"), (KILL, "postgres" if profile == TEAM else "prefect"),
    ]  # fmt: skip


def schedule(
    seed: int, deck: list[tuple[str, str]], every: float, *, shuffle: bool
) -> Iterator[Fault]:
    """Faults without end, the same for the same seed; each round deals the whole deck.

    What a fault meets depends on what runs just then, and that on the machine.
    """
    dice = random.Random(seed)
    while True:
        cards = dice.sample(deck, len(deck)) if shuffle else list(deck)
        for kind, target in cards:
            gap = every * dice.uniform(0.4, 1.6)
            seconds = dice.uniform(2, 12)
            if kind == PAUSE and shuffle and dice.random() < 0.1:
                seconds = _LONG
            yield Fault(gap, kind, target, seconds, dice.uniform(0, 3), dice.random())


@dataclass
class Struck:
    """A fault as it came.

    Attributes
    ----------
    began
        Seconds since the beginning.
    hit
        What it met; empty where there was nobody.
    """

    fault: Fault
    began: float
    hit: str

    def document(self) -> dict[str, Any]:
        return asdict(self.fault) | {"began": round(self.began, 1), "hit": self.hit}


@dataclass
class Chaos:
    """Carries a schedule out in a thread of its own, until it is told to stop.

    Services that are down are started again by ``emsam up``, in another thread, as somebody who
    watches the stack would.

    Attributes
    ----------
    cards
        How many make the deck; with ``only_once`` there are no faults after these.
    patience
        Seconds to wait until there is a process to kill or to pause.
    dealt
        Set once each card of the deck has been played.
    complaints
        What ``emsam up`` printed that no user should see.
    """

    lab: SoakLab
    faults: Iterator[Fault]
    cards: int
    patience: float = 25.0
    only_once: bool = False
    struck: list[Struck] = field(default_factory=list)
    dealt: threading.Event = field(default_factory=threading.Event)
    complaints: list[str] = field(default_factory=list)
    ups: list[tuple[int, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._over, self._wanted = threading.Event(), threading.Event()
        self._began = time.monotonic()
        self._later: list[tuple[float, Callable[[], None]]] = []
        self._threads = [
            threading.Thread(target=each, daemon=True) for each in (self._play, self._watch)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """No more faults; what was paused goes on, the disk has room, S3 is back."""
        self._over.set()
        self._wanted.set()
        for thread in self._threads:
            thread.join()
        self._undo(math.inf)

    # -- the schedule ---------------------------------------------------------------------------

    def _play(self) -> None:
        for fault in self.faults:
            if not self._wait(fault.gap):
                return
            hit = self._strike(fault)
            self.struck.append(Struck(fault, self._now(), hit))
            if len(self.struck) >= self.cards:
                self.dealt.set()
                if self.only_once:
                    break
        self._wait(math.inf)

    def _wait(self, seconds: float) -> bool:
        """Let faults end that are due meanwhile; whether there may be another one."""
        until = self._now() + seconds
        while self._now() < until:
            self._undo(self._now())
            if self._over.wait(0.2):
                return False
        return True

    def _now(self) -> float:
        return time.monotonic() - self._began

    def _undo(self, until: float) -> None:
        for due in [each for each in self._later if each[0] <= until]:
            self._later.remove(due)
            due[1]()

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        self._later.append((self._now() + seconds, action))

    def _strike(self, fault: Fault) -> str:
        if fault.kind == DISK:
            return self._fill_disk(fault)
        if fault.kind == STORE:
            return self._take_store_away(fault)
        if fault.kind == MACHINE:
            return self._kill_all(fault)
        victims = self._victims(fault)
        if not victims:
            return ""
        number = signal.SIGKILL if fault.kind == KILL else signal.SIGSTOP
        if fault.kind == KILL and fault.dice < 0.5:
            del victims[1:]  # the process alone; what it started is left
        names = [f"{each.pid} {' '.join(words_of(each)[1:5])}" for each in victims[:1]]
        _signal(victims, number)
        if fault.kind == PAUSE:
            self._after(fault.seconds, lambda: _signal(victims, signal.SIGCONT))
        else:
            self._after(fault.seconds, self._wanted.set)
        return ", ".join(names)

    def _victims(self, fault: Fault) -> list[psutil.Process]:
        """The process, and what it started; waits for one."""
        found, waited = self._await(lambda: self._find(fault))
        if waited and found:
            time.sleep(fault.delay)
        return found

    def _await(self, find: Callable[[], list[psutil.Process]]) -> tuple[list[psutil.Process], bool]:
        """What is found within :attr:`patience`, and whether it was not there at once."""
        until, waited = self._now() + self.patience, False
        while self._now() < until and not self._over.is_set():
            if found := find():
                return found, waited
            waited = True
            self._undo(self._now())
            time.sleep(0.2)
        return [], waited

    def _find(self, fault: Fault) -> list[psutil.Process]:
        program = _PROGRAMS.get(fault.target)
        if program is None:
            return self.lab.service_processes(fault.target)
        found = [each for each in self.lab.processes() if program in words_of(each)]
        if not found:
            return []
        chosen = found[int(fault.dice * len(found))]
        with suppress(psutil.Error):
            return [chosen, *(chosen.children(recursive=True) if fault.target == "dvc" else [])]
        return []

    # -- faults that are no signal --------------------------------------------------------------

    def _fill_disk(self, fault: Fault) -> str:
        disk = self.lab.path.parent
        if not self.lab.has_disk:
            return ""
        for slack in (64, 256, 1024, 4096):  # KB; others write meanwhile
            if _resize(disk, f"{used(disk) // 1024 + slack}k"):
                self._after(fault.seconds, lambda: self._make_room())
                return f"{slack} KB left of {used(disk) / 1e6:.0f} MB"
        return ""

    def _make_room(self) -> None:
        assert _resize(self.lab.path.parent, "8192m")

    def _take_store_away(self, fault: Fault) -> str:
        """Nobody gets in, or nobody gets an answer; best while somebody publishes."""
        self._await(lambda: [each for each in self.lab.processes() if "dvc" in words_of(each)])
        if self.lab.door is not None:
            door, mode = self.lab.door, SHUT if fault.dice < 0.5 else MUTE
            door.turn(mode)
            self._after(fault.seconds, lambda: door.turn(OPEN))
            return mode
        found = self.lab.service_processes("s3")
        if not found:
            return ""
        if fault.dice < 0.5:
            _signal(found, signal.SIGKILL)
            self._after(fault.seconds, self._wanted.set)
            return SHUT
        _signal(found, signal.SIGSTOP)
        self._after(fault.seconds, lambda: _signal(found, signal.SIGCONT))
        return MUTE

    def _kill_all(self, fault: Fault) -> str:
        """As when the machine dies: every process of the laboratory at once."""
        found = self.lab.processes()
        _signal(found, signal.SIGKILL)
        self._after(fault.seconds, self._wanted.set)
        return f"{len(found)} processes"

    # -- who starts services again --------------------------------------------------------------

    def _watch(self) -> None:
        while not self._over.is_set():
            self._wanted.wait()
            self._wanted.clear()
            if not self._over.is_set() and not self.up():
                self._over.wait(3)
                self._wanted.set()

    def up(self) -> bool:
        """Run ``emsam up``; whether all is well then."""
        done = self.lab.emsam("up")
        said = done.stderr.strip()
        self.ups.append((done.returncode, said[-300:]))
        if "Traceback" in said:
            self.complaints.append(f"emsam up: {said[-1500:]}")
        return done.returncode == 0


def _signal(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.Error):
            process.send_signal(number)


def _resize(disk: Any, size: str) -> bool:
    command = ["mount", "-o", f"remount,size={size}", str(disk)]
    return subprocess.run(command, capture_output=True).returncode == 0
