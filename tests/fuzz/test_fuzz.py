"""A few mutations of everything, and that the farm sees what readers may not do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.readers import COSTS, READERS

ROOT = Path(__file__).parents[2]

BAD_READER = """
import mmap, os, signal, subprocess, sys, tempfile, time, json
from pathlib import Path
from tests.fuzz import farm, readers
from emsam.errors import InputError

farm.SECONDS = 3

def evil(folder):
    what = int((folder.parent / "number").read_text())
    if what == 0:
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == 1:
        while True:
            pass
    if what == 2:
        (folder.parent / "outside" / "written").write_text("x")
    if what == 3:
        subprocess.run(["true"])
    if what == 4:
        bytearray(b"x") * (600 << 20)
    if what == 5:
        raise KeyError("no clear line")
    if what == 6:
        raise ValueError((folder.parent / "outside" / "secret").read_text())
    if what == 7:
        raise InputError("decision.json: damaged; copy it again")
    return "read"

def one(reader, number, *others):
    Path(others[1], "number").write_text(str(number))
    return kept(reader, number, *others)

kept, farm._one = farm._one, one
readers.READERS["decision"] = evil
with tempfile.TemporaryDirectory() as room:
    found = farm.run_reader("decision", range(9), 0, Path(room))
print(json.dumps([found.findings, found.outcomes]))
"""


def test_the_farm_sees_what_a_reader_may_not_do() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BAD_READER], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    findings, outcomes = json.loads(done.stdout)
    kinds: dict[int, set[str]] = {}
    for each in findings:
        kinds.setdefault(each["case"], set()).add(each["kind"])
    assert kinds == {
        0: {"killed by SIGSEGV"}, 1: {"hangs"}, 2: {"write", "forbidden"}, 3: {"forbidden"},
        4: {"memory"}, 5: {"crash"}, 6: {"crash", "forbidden"},
    }  # fmt: skip
    assert outcomes == {"refused": 1, "read": 1}


@pytest.mark.slow
def test_mutated_files_are_read_or_refused_in_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.fuzz", "--cases", "120", "--json"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout, done.stderr
    results = json.loads(done.stdout)
    assert [each["findings"] for each in results] == [[]] * len(READERS)
    for each in results:
        assert each["cases"] == 120 // COSTS.get(each["reader"], 1)
        # the network of the safetensors sample has no encoder to be taken from it
        wanted = {"refused"} if each["reader"] == "safetensors" else {"read", "refused"}
        assert wanted <= each["outcomes"].keys(), each
