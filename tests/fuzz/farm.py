"""Cases in processes of their own, so that a crash or a hang of a C library has a number."""

from __future__ import annotations

import contextlib
import io
import json
import mmap
import os
import random
import shutil
import signal
import struct
import sys
import time
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.fuzz import readers, samples
from tests.fuzz.mutate import Files, mutate, safe_name
from tests.fuzz.watch import MOST_MEMORY, Watch, peak_memory

SECONDS = 10.0
"""CPU time after which a case hangs; a machine that is busy gets six times as much by the clock."""
_LONGEST_LINE = 1003
_COMMAND_EVERY = 10
_STATE = struct.Struct("<qd")


@dataclass
class Result:
    """What became of the cases of one reader.

    Attributes
    ----------
    outcomes
        Number of cases that were ``read``, ``refused``, or opened and ``large``.
    commands
        Number of cases that were handed to the command as well.
    findings
        ``case``, ``kind`` and ``detail`` of each that broke a promise.
    """

    reader: str
    outcomes: Counter[str] = field(default_factory=Counter)
    commands: int = 0
    findings: list[dict[str, Any]] = field(default_factory=list)
    slowest: float = 0.0
    seconds: float = 0.0

    @property
    def cases(self) -> int:
        return sum(self.outcomes.values()) + len({each["case"] for each in self.findings})


def run_reader(reader: str, cases: range, seed: int, room: Path) -> Result:
    """Read mutations ``cases`` of the samples of ``reader``; a process that dies is replaced."""
    room = room / safe_name(reader)
    shutil.rmtree(room, ignore_errors=True)
    (room / "outside").mkdir(parents=True)
    (room / "outside" / "secret").write_bytes(b"canary" * 40)
    result, began = Result(reader), time.monotonic()
    _in_child(lambda: samples.WRITERS[reader](room / "samples"))
    log = room / "log.jsonl"
    log.touch()
    state = mmap.mmap(-1, _STATE.size)
    following = cases.start
    again: set[int] = set()
    while following < cases.stop:
        _STATE.pack_into(state, 0, following - 1, time.monotonic())
        child = os.fork()
        if child == 0:
            _work(reader, range(following, cases.stop), seed, room, state, log)
        problem = _wait(child, state)
        last, _ = _STATE.unpack_from(state)
        following = last + 1
        if problem == "hangs" and last not in again:
            again.add(last)  # the machine may have been busy, or asleep
            following = last
        elif problem:
            result.findings.append({"case": last, "kind": problem, "detail": _doing(room)})
    for line in log.read_text().splitlines():
        entry = json.loads(line)
        result.slowest = max(result.slowest, entry["seconds"])
        result.commands += entry["command"]
        if entry["problems"]:
            result.findings += [{"case": entry["case"]} | each for each in entry["problems"]]
        else:
            result.outcomes[entry["outcome"]] += 1
    result.seconds = time.monotonic() - began
    return result


def case_files(
    reader: str, seed: int, number: int, sets: list[Files]
) -> tuple[Files, random.Random]:
    """The files of a case, and the generator as it is behind them."""
    rng = random.Random(f"{reader} {seed} {number}")
    chosen = rng.choice(sets)
    if number < len(sets):
        return sets[number], rng  # each sample once as it is
    others = [content for files in sets for content in files.values() if content]
    return mutate(chosen, others, rng), rng


def _in_child(call: Any) -> None:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            call()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise RuntimeError("the samples could not be written")


def _wait(child: int, state: mmap.mmap) -> str:
    """Until the child ends, or a case of it hangs; empty if it ended as it should."""
    process, case, used = psutil.Process(child), -2, 0.0
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            code = os.waitstatus_to_exitcode(status)
            if code < 0:
                return f"killed by {signal.Signals(-code).name}"
            return "" if code == 0 else f"ended with status {code}"
        now, began = _STATE.unpack_from(state)
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        if now != case:
            case, used = now, times.user + times.system
        if times.user + times.system - used > SECONDS or time.monotonic() - began > 6 * SECONDS:
            os.kill(child, signal.SIGUSR2)  # it says where it is
            time.sleep(0.2)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "hangs"
        time.sleep(0.05)


def _doing(room: Path) -> str:
    """Where a case was when its process ended, as faulthandler wrote it."""
    text = (room / "fault.log").read_text() if (room / "fault.log").exists() else ""
    text = text.partition("Current thread")[2] or text
    lines = [line.strip() for line in text.splitlines() if "File" in line]
    return " < ".join(lines[:6])


def _work(reader: str, cases: range, seed: int, room: Path, state: mmap.mmap, log: Path) -> None:
    """In a child: every case, a line of the log each; ends the process."""
    import faulthandler

    try:
        os.setsid()
        fault = (room / "fault.log").open("w")
        faulthandler.enable(fault)
        faulthandler.register(signal.SIGUSR2, fault)
        warnings.simplefilter("ignore")
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)  # C libraries complain of every second file
        sets = [samples.load(each) for each in sorted((room / "samples").iterdir())]
        before = peak_memory()
        watch = Watch(room, follows=reader in readers.FOLLOW_LINKS)
        with log.open("a") as stream:
            for number in cases:
                _STATE.pack_into(state, 0, number, time.monotonic())
                entry = _one(reader, number, seed, room, sets, watch)
                if (taken := peak_memory() - before) > MOST_MEMORY:
                    entry["problems"].append({"kind": "memory", "detail": f"{taken >> 20} MB"})
                stream.write(json.dumps(entry) + "\n")
                stream.flush()
                if taken > MOST_MEMORY:
                    break  # the peak cannot be taken back
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def _one(
    reader: str, number: int, seed: int, room: Path, sets: list[Files], watch: Watch
) -> dict[str, Any]:
    files, rng = case_files(reader, seed, number, sets)
    for name in ("input", "out"):
        shutil.rmtree(room / name, ignore_errors=True)
        (room / name).mkdir()
    samples.lay_out(files, room / "input")
    if reader == "run directory" and rng.random() < 0.7:
        readers.sign_run(room / "input")
    before, began = _tree(room), time.process_time()
    outcome, problems = _read(reader, room, watch)
    wanted = not problems and rng.randrange(_COMMAND_EVERY) == 0
    arguments = readers.command(reader, room / "input", outcome) if wanted else None
    if arguments:
        problems += _command(arguments, room, watch)
    if _tree(room) != before:
        problems.append({"kind": "write", "detail": "something beside its target has changed"})
    problems += [{"kind": "forbidden", "detail": each} for each in set(watch.seen)]
    seconds = time.process_time() - began
    return {"case": number, "outcome": outcome, "problems": problems, "seconds": round(seconds, 3),
            "command": bool(arguments)}  # fmt: skip


def _read(reader: str, room: Path, watch: Watch) -> tuple[str, list[dict[str, str]]]:
    from emsam.errors import InputError

    try:
        with watch.armed():
            return readers.READERS[reader](room / "input"), []
    except InputError as error:
        line = str(error)
        if "\n" in line or len(line) > _LONGEST_LINE or "\x1b" in line or not line.isprintable():
            return "refused", [{"kind": "message", "detail": repr(line[:300])}]
        return "refused", []
    except BaseException as error:
        return "crashed", [{"kind": "crash", "detail": _where(error)}]


def _command(arguments: list[str], room: Path, watch: Watch) -> list[dict[str, str]]:
    """Type the command; it must end with 0 or, and in one line, with 2."""
    from emsam.cli.app import main

    os.chdir(room / "out")
    os.environ |= {"EMSAM_WEIGHTS_ROOT": "weights", "EMSAM_RUNS_ROOT": str(room / "input")}
    said, errors, seen = io.StringIO(), io.StringIO(), list(watch.seen)
    sys.argv = ["emsam", *arguments]
    status: Any = None
    try:
        with watch.armed(), contextlib.redirect_stdout(said), contextlib.redirect_stderr(errors):
            main()
    except SystemExit as stop:
        status = stop.code or 0
    except BaseException as error:
        return [{"kind": "command", "detail": _where(error)}]
    finally:
        os.chdir(room)
        watch.seen.extend(seen)
    line = errors.getvalue()
    if status not in (0, 2) or (status == 2 and line.count("\n") != 1):
        return [{"kind": "command", "detail": f"status {status}: {line[-300:]!r}"}]
    return []


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f"{Path(f.filename).name}:{f.lineno}" for f in frames if "/emsam/" in f.filename or
            "/dashboards/" in f.filename]  # fmt: skip
    last = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}: {str(error)[:160]!r} at {' '.join(ours[-3:])} in {last}"


def _tree(room: Path) -> dict[str, tuple[int, int]]:
    """Names, sizes and times of all that a reader must leave as it is."""
    found = {}
    for top in ("input", "outside", "samples"):
        for folder, _, names in os.walk(room / top):
            state = os.lstat(folder)
            found[folder] = (0, state.st_mtime_ns)
            for name in names:
                path = os.path.join(folder, name)
                state = os.lstat(path)
                found[path] = (state.st_size, state.st_mtime_ns)
    found[str(room)] = (len(os.listdir(room)), 0)
    return found
