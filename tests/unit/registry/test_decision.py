from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from emsam.errors import InputError
from emsam.registry.decision import Decision
from emsam.registry.decision_page import Picture, write_decision

DECISION = Decision(
    verdict="promote",
    reason="arand_contest_2d 0.0500 against 0.0600",
    candidate="emsam-neurites/2",
    champion="emsam-neurites/1",
    metric="arand_contest_2d",
    candidate_score=0.05,
    champion_score=0.06,
    data="<script>alert(1)</script>",
    digest="0" * 32 + ".dir",
    split="test",
    judged=(
        {"data": "<script>alert(1)</script>", "digest": "0" * 32 + ".dir", "split": "test",
         "slices": [1, 2], "improvement": math.nan},
    ),
    packages={"candidate": "a", "champion": "b"},
    looks=3,
    gate={"confidence": 0.98, "margins": {"voi_split_2d": 0.05}},
    metrics=(
        {"metric": "arand_contest_2d", "candidate": 0.05, "champion": 0.06, "improvement": 0.01,
         "low": 0.002, "high": 0.018},
    ),
    notes=("judged <b>so</b>",),
)  # fmt: skip


def written(tmp_path: Path) -> Path:
    pixels = np.zeros((8, 20, 3), np.uint8)
    pictures = [Picture("volume1-z0001.png", "slice 1 <i>", pixels)]
    return write_decision(DECISION, "[]", pictures, tmp_path / "decisions")


def test_a_document_is_read_back_as_it_was(tmp_path: Path) -> None:
    folder = written(tmp_path)
    assert folder.name == DECISION.sha256[:12]
    found = Decision.from_file(folder / "decision.json")
    assert found.sha256 == DECISION.sha256
    assert (found.verdict, found.looks, found.candidate_score) == ("promote", 3, 0.05)
    assert found.judged[0]["improvement"] is None
    assert json.loads((folder / "decision.json").read_text())["sha256"] == DECISION.sha256


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"verdict": "promote"', '"verdict": "reject"'),
        ('"candidate_score": 0.05', '"candidate_score": 0.01'),
        ('"looks": 3', '"looks": 1'),
        ("{", "["),
    ],
)
def test_an_altered_document_is_refused_in_one_line(tmp_path: Path, old: str, new: str) -> None:
    path = written(tmp_path) / "decision.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=r"decision\.json: .*'emsam promote'") as refused:
        Decision.from_file(path)
    assert "\n" not in str(refused.value)


def test_a_missing_file_and_a_file_of_others_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        Decision.from_file(tmp_path / "none.json")
    (tmp_path / "other.json").write_text('{"verdict": "promote"}')
    with pytest.raises(InputError, match="no decision of the gate"):
        Decision.from_file(tmp_path / "other.json")


def test_the_page_is_one_file_that_takes_no_name_for_html(tmp_path: Path) -> None:
    page = (written(tmp_path) / "index.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "<b>so" not in page
    assert 'src="data:image/png;base64,' in page
    assert "http" not in page
    assert "promote: arand_contest_2d 0.0500 against 0.0600" in page
    assert DECISION.sha256 in page


def test_a_folder_that_somebody_changed_is_written_again(tmp_path: Path) -> None:
    folder = written(tmp_path)
    (folder / "decision.json").write_text("{}")
    assert written(tmp_path) == folder
    assert Decision.from_file(folder / "decision.json").sha256 == DECISION.sha256


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[]", '{"sha256": 1}', "\0"])
def test_what_is_no_decision_is_refused_in_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "decision.json").write_text(text)
    with pytest.raises(InputError, match=r"decision.json: no decision of the gate"):
        Decision.from_file(tmp_path / "decision.json")
