"""What the pages change: champions and jobs; and what they show of registry, data and jobs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from dashboards.queries import jobs
from dashboards.queries.registry import model_history, open_decisions
from emsam.data.store import Volume
from emsam.errors import InputError
from emsam.registry.promotion import carry_out
from emsam.settings import Settings
from tests.dashboards.conftest import ODD_NAME
from tests.dashboards.test_pages import open_page, seen
from tests.dashboards.test_people import signed_in
from tests.registry.workers import NAME, make_decision

pytestmark = pytest.mark.slow

WHY = "axons <b>in slice 40</b> look right"


def button(app: AppTest, label: str) -> AppTest:
    """The page after a click."""
    (found,) = [each for each in app.button if each.label == label]
    return found.click().run()


def champion(settings: Settings) -> int:
    return model_history(NAME, settings).aliases()["champion"]


def test_registry_promotes_with_a_reason_and_takes_it_back(undecided: Settings) -> None:
    app = open_page("registry")
    assert f"champion: {NAME}/1 → {NAME}/2; previous: {NAME}/1" in seen(app)
    app = button(app, "Promote")
    assert "--reason" in seen(app)
    assert champion(undecided) == 1
    app.text_input[0].set_value(WHY)
    app = button(app, "Promote")
    assert f"{NAME}/2 is champion" in app.success[0].value.replace("\\", "")
    assert champion(undecided) == 2
    last = model_history(NAME, undecided).ledger[-1]
    assert (last.action, last.approval_reason) == ("promote", WHY)
    assert last.by == last.approved_by
    assert open_decisions(undecided) == []
    app.text_input[0].set_value("it merges dendrites")
    app = button(app, "Roll back")
    assert champion(undecided) == 1
    table = app.dataframe[-1].value
    assert list(table["action"]) == ["rollback", "promote", "promote"]
    assert next(iter(table["reason"])) == "it merges dendrites"
    assert not any(each.allow_html for each in app.markdown)


def test_registry_shows_what_the_versions_were_trained_with(undecided: Settings) -> None:
    table = open_page("registry").dataframe[1].value
    assert list(table.columns) == ["version 2", "version 1"]
    assert list(table.loc["train.steps"]) == ["3", "2"]


def test_who_comes_second_is_told(undecided: Settings) -> None:
    mine, theirs = open_page("registry"), open_page("registry")
    mine.text_input[0].set_value(WHY)
    button(mine, "Promote")
    theirs.text_input[0].set_value("mine too")
    theirs = button(theirs, "Promote")
    assert not theirs.success
    assert f"the champion is {NAME}/2" in seen(theirs)
    assert [row.to_version for row in model_history(NAME, undecided).ledger] == [1, 2]


@pytest.mark.parametrize(
    ("address", "read_only"), [("bo@lab.org", ""), ("ada@lab.org", "true"), ("eve@lab.org", "")]
)
def test_nobody_moves_champions_without_the_right_to(
    undecided: Settings, monkeypatch: pytest.MonkeyPatch, address: str, read_only: str
) -> None:
    if read_only:
        monkeypatch.setenv("EMSAM_READ_ONLY", read_only)
    app = signed_in(address, monkeypatch)
    app.switch_page("views/registry.py").run()
    assert not app.exception
    assert "may not move champions" in seen(app)
    assert not [each for each in app.button if each.label in ("Promote", "Roll back")]


def test_the_ledger_names_who_signed_in(
    undecided: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = signed_in("ada@lab.org", monkeypatch)
    app.switch_page("views/registry.py").run()
    app.text_input[0].set_value(WHY)
    button(app, "Promote")
    last = model_history(NAME, undecided).ledger[-1]
    assert (last.by, last.approved_by) == ("ada@lab.org", "ada@lab.org")


def test_overview_says_what_waits(undecided: Settings) -> None:
    app = open_page("overview")
    (link,) = [each for each in app.get("page_link") if NAME in each.proto.label]
    assert make_decision(2, 1).sha256[:12] in link.proto.query_string


def test_a_decision_that_is_carried_out_elsewhere_waits_no_more(undecided: Settings) -> None:
    assert [each.state for each in open_decisions(undecided)] == ["waiting"]
    free = undecided.model_copy(update={"approval": "none"})
    carry_out(make_decision(2, 1).sha256, free, by="Ada")
    states = [each.state for each in model_history(NAME, undecided).decisions]
    assert states == ["carried out", "carried out"]


# -- data sets ------------------------------------------------------------------------------------


def test_datasets_shows_splits_labels_and_who_learned(in_lab: Settings, odd_name: str) -> None:
    app = open_page("datasets")
    bars = json.loads(app.get("plotly_chart")[0].proto.spec)["data"]
    splits = Volume(in_lab.volume_path("tiny")).info.splits
    assert [bar["name"] for bar in bars[:3]] == [f"{n} {a}–{b}" for n, (a, b) in splits.items()]
    assert "run 'emsam data publish" in seen(app) or "git" in seen(app)
    assert list(app.dataframe[-1].value["run"]) == [odd_name, "first"]
    assert "emsam data check tiny" in seen(app)
    before = app.image
    app.selectbox[1].select("none").run()
    assert not app.exception
    assert len(app.image) == len(before) == 1


# -- jobs -----------------------------------------------------------------------------------------


def test_jobs_shows_the_log_and_says_how_to_start_prefect(in_lab: Settings) -> None:
    app = open_page("jobs")
    table = app.dataframe[0].value
    assert set(table["job"]) == {"first", ODD_NAME}
    assert set(table["state"]) == {"done"}
    assert "Prefect does not answer" in seen(app)
    assert "emsam up" in seen(app)


def test_a_log_outside_of_the_runs_is_not_read(in_lab: Settings, tmp_path: Path) -> None:
    (tmp_path / "train.log").write_text("secret")
    (tmp_path / "status.json").write_text("{}")
    for name in ("..", "../..", str(tmp_path), "first/.."):
        with pytest.raises(InputError, match="no job"):
            jobs.log_tail(name, in_lab, 10)
