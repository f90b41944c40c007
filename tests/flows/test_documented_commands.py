"""The command blocks of the tutorial and of the README, executed as they stand there.

They run in one laboratory, the tutorial first, with smaller numbers (``SMALLER``) and with the
tests' tiny network in ``params.yaml``. Blocks behind ``<!-- not run: … -->`` are left to
tests/docs/test_commands.py, which looks whether they could be typed.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile

from emsam.data.readers import open_stack
from emsam.params import dump_params, load_params
from tests.conftest import TINY, Laboratory, make_laboratory
from tests.docs.markdown import ROOT, blocks
from tests.docs.session import Session

pytestmark = pytest.mark.slow
SMALLER = {
    "72,320,320": "72,96,96",
    "16,320,320": "16,96,96",
    "train.steps=50": "train.steps=24",
    "train.steps=150": "train.steps=200",
    "train.minutes=30": "train.steps=24",
    "--trials 20": "--trials 3",
}
"""What the pages say, and what is done here: a minute in place of half an hour."""


class Reader:
    """Somebody who types the blocks of a page, line by line."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._variables: dict[str, str] = {}

    def type(self, page: Path) -> dict[str, str]:
        """Line → what it printed, for every line that is no comment."""
        printed = {}
        for block in blocks(page, "sh"):
            if not block.not_run:
                printed |= {line: self._type_line(line) for line in block.commands}
        return printed

    def _type_line(self, line: str) -> str:
        for large, small in SMALLER.items():
            line = line.replace(large, small)
        line = re.sub(r"\$(\w+)", lambda name: self._variables[name[1]], line)
        words = shlex.split(line, comments=True)
        if words == ["source", ".venv/bin/activate"]:
            return ""  # the tests run in that environment
        given = {}
        while words and (match := re.fullmatch(r"(\w+)=(.*)", words[0])):
            given[match[1]] = match[2]
            words.pop(0)
        if not words:
            self._variables |= given
            return ""
        assert words[0] == "emsam", f"{line}: not executed here; mark the block with 'not run'"
        return self._session.run(words[1:], given)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> Laboratory:
    """A project whose parameters are tiny, so that commands find them where a reader's do."""
    lab = make_laboratory(tmp_path_factory.mktemp("documented"))
    lab.prefect_api = prefect_api
    (lab.path / "params.yaml").write_text(dump_params(load_params(None, TINY)))
    return lab


@pytest.fixture(scope="module")
def session(lab: Laboratory) -> Iterator[Session]:
    session = Session(lab)
    yield session
    session.close()


def test_the_tutorial_and_the_readme_can_be_typed(lab: Laboratory, session: Session) -> None:
    tutorial = Reader(session).type(ROOT / "docs" / "tutorial.md")
    assert len(tutorial) > 20
    promoted = [text for line, text in tutorial.items() if line.startswith("emsam promote")]
    assert [text.splitlines()[-1].split(":")[0] for text in promoted] == ["promote", "promote"]
    assert (lab.path / "tissue.html").exists()
    (verified,) = (text for line, text in tutorial.items() if "verify" in line)
    assert "the chain is whole" in verified

    files_of_a_lab(lab, session)
    readme = Reader(session).type(ROOT / "README.md")
    (pipeline,) = (text for line, text in readme.items() if line.startswith("emsam pipeline"))
    assert "emsam-neurites/3" in pipeline
    objects = open_stack(str(lab.path / "ids.zarr"))
    assert objects.shape == open_stack(str(lab.path / "other.tif")).shape
    log = json.loads(session.run(["registry", "log", "emsam-neurites", "--json"], {}))
    assert [row["action"] for row in log["ledger"]].count("rollback") == 3


def files_of_a_lab(lab: Laboratory, session: Session) -> None:
    """The files that the README takes for granted: an image, its labels, another image."""
    elsewhere = {"EMSAM_DATA_ROOT": "microscope"}
    for name, depth in (("mouse", 82), ("another", 8)):
        session.run(["data", "synthetic", name, "--shape", f"{depth},96,96", "--seed", "9"],
                    elsewhere)  # fmt: skip
    mouse, another = (lab.path / "microscope" / n / "volume.zarr" for n in ("mouse", "another"))
    for source, name in (
        (mouse, "em.tif"), (mouse / "labels" / "neurites", "cells.tif"), (another, "other.tif"),
    ):  # fmt: skip
        stack = open_stack(str(source))
        tifffile.imwrite(lab.path / name, np.stack(list(stack)))
