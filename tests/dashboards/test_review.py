"""The page "Review masks", without a browser: choices, links, answers, comments."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from dashboards.queries.review import list_decisions
from emsam.registry.comments import add_comment, decision_subject
from emsam.settings import Settings
from tests.dashboards.conftest import environment
from tests.dashboards.review_lab import ODD_NAME
from tests.dashboards.test_pages import APP, seen
from tests.waiting import PATIENCE

pytestmark = pytest.mark.slow  # the lab is a volume of its own


@pytest.fixture
def lab_to_write(review_lab: Settings, tmp_path: Path) -> Settings:
    """A copy of the lab's ledger, for tests that write; runs and data are shared."""
    shutil.copytree(review_lab.home, tmp_path / "home")
    return review_lab.model_copy(update={"home": tmp_path / "home"})


def open_review(settings: Settings, **query: str) -> AppTest:
    """The page, as a link leads to it."""
    with environment(settings):
        app = AppTest.from_file(APP, default_timeout=PATIENCE).run()
        for name, value in query.items():
            app.query_params[name] = value
        app.switch_page("views/review.py").run()
    assert not app.exception
    return app


def shown(app: AppTest) -> dict:
    """What the viewer was told."""
    (viewer,) = app.get("bidi_component")
    message = viewer.proto.bytes
    (length,) = struct.unpack("<I", message[:4])
    return json.loads(message[4 : 4 + length])


def test_the_newest_decision_is_shown_with_its_masks(review_lab: Settings) -> None:
    app = open_review(review_lab)
    header = shown(app)
    assert header["scene"]["names"] == {"a": "emsam-neurites/1 (candidate)"}
    assert header["scene"]["slices"] == [10, 11]
    assert {error["kind"] for error in header["scene"]["worst"]} == {"merge"}
    assert header["may"] == {"comment": True, "answer": True}
    assert "**promote**: better <b>by far</b>" in seen(app)
    decision = list_decisions(review_lab)[0].decision
    assert app.query_params["decision"] == decision.sha256[:12]


def test_a_link_leads_to_two_runs_and_a_place(review_lab: Settings) -> None:
    from dashboards.queries.runs import list_runs

    ids = {run.name: run.run_id for run in list_runs(review_lab)}
    app = open_review(
        review_lab, a=ids["first"], b=ids[ODD_NAME], data="tissue-test", z="11", y="30", x="40.5",
        zoom="nan",
    )  # fmt: skip
    header = shown(app)
    assert header["scene"]["names"] == {"a": "first", "b": ODD_NAME}
    assert header["place"] == {"z": 11, "y": 30, "x": 40.5}
    assert {(e["model"], e["kind"]) for e in header["scene"]["worst"]} == {
        ("a", "merge"), ("b", "split"),
    }  # fmt: skip
    severities = [e["severity"] for e in header["scene"]["worst"] if e["model"] == "a"]
    assert severities == sorted(severities, reverse=True)
    assert not header["may"]["answer"]  # there is no decision to answer


@pytest.mark.parametrize("who", ["a decision", "runs"])
def test_masks_of_older_versions_say_what_to_do(
    review_lab: Settings, tmp_path: Path, who: str
) -> None:
    root = tmp_path / "lab"
    shutil.copytree(review_lab.home.parent, root)
    settings = review_lab.model_copy(update={"home": root / "home"})
    if who == "a decision":
        folder = next((root / "home" / "decisions").glob("*/predictions"))
        shutil.rmtree(folder)
        said = seen(open_review(settings))
        assert "emsam-neurites/1 (candidate): no masks were kept; decide again" in said
    else:
        store = review_lab.runs_root / "first" / "predictions" / "tissue-test.zarr"
        store.rename(store.with_suffix(".away"))
        store.with_suffix(".tif").touch()
        try:
            from dashboards.queries.runs import list_runs

            ids = {run.name: run.run_id for run in list_runs(settings)}
            said = seen(open_review(settings, a=ids["first"], data="tissue-test"))
        finally:
            store.with_suffix(".tif").unlink()
            store.with_suffix(".away").rename(store)
        assert "first: its masks are of an older EM-SAM; run 'emsam evaluate" in said


def test_comments_are_shown_as_text(lab_to_write: Settings) -> None:
    decision = list_decisions(lab_to_write)[0].decision
    text = "<img src=x onerror=alert(1)>"
    add_comment(
        (10, 5, 7), text, lab_to_write, digest=decision.digest, data="tissue",
        subject=decision_subject(decision.sha256), by="ada",
    )  # fmt: skip
    (comment,) = shown(open_review(lab_to_write))["comments"]
    assert (comment["z"], comment["y"], comment["x"]) == (10, 5, 7)
    assert (comment["text"], comment["by"]) == (text, "ada")


def test_beginning_an_answer_writes_nothing(lab_to_write: Settings) -> None:
    app = open_review(lab_to_write)
    with environment(lab_to_write):
        app.session_state["review_answer"] = "approve"
        app.run()
        assert list_decisions(lab_to_write)[0].answer is None
        assert [each.label for each in app.text_area] == ["Reason"]
    assert any(each.label == "Approve" for each in app.button)
