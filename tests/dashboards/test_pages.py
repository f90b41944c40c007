"""What somebody notices who opens the pages."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from streamlit import config
from streamlit.testing.v1 import AppTest

from dashboards.elements import plain
from emsam.registry.models import find_version
from emsam.settings import Settings
from emsam.train.evaluation import read_scores
from emsam.train.run_directory import RunDirectory
from tests.waiting import PATIENCE

pytestmark = pytest.mark.slow  # the lab trains two networks

APP = str(Path(__file__).parents[2] / "dashboards" / "app.py")
PAGES = ("overview", "compare", "review")


def open_page(name: str) -> AppTest:
    """The app with one of its pages open, as from the menu."""
    app = AppTest.from_file(APP, default_timeout=PATIENCE).run()
    if name != "overview":
        app.switch_page(f"views/{name}.py").run()
    assert not app.exception
    # Streamlit shows whatever stands alone in a page, also a docstring of a constant.
    assert app.main[0].type == "title"
    return app


def seen(app: AppTest) -> str:
    """All text on the page, as it looks once Markdown's escapes are gone."""
    boxes = (app.title, app.markdown, app.caption, app.info, app.warning, app.error, app.subheader)
    text = "\n".join(str(each.value) for box in boxes for each in box)
    metrics = "\n".join(f"{each.label} {each.value}" for each in app.metric)
    facts = "\n".join(each.value.to_csv() for each in app.table)
    tables = "\n".join(each.value.to_csv() for each in app.dataframe)
    return re.sub(r"\\(?=\W|_)", "", f"{text}\n{metrics}\n{facts}") + tables


@pytest.mark.parametrize("page", PAGES)
def test_an_empty_lab_says_what_to_do(empty_lab: Settings, page: str) -> None:
    text = seen(open_page(page))
    assert "No runs yet" in text
    assert "make demo" in text


@pytest.mark.parametrize("page", ["overview", "compare", "registry"])
def test_an_absent_server_is_one_line(cut_off: Settings, page: str) -> None:
    app = open_page(page)
    assert len(app.error) == 1
    text = seen(app)
    assert "MLflow does not answer at http://127.0.0.1:1" in text
    assert "EMSAM_MLFLOW_URI" in text
    assert "secret" not in text


def test_decisions_are_reviewed_without_mlflow_and_runs_are_not(cut_off: Settings) -> None:
    app = open_page("review")
    assert not app.error
    assert "emsam-neurites/1" in seen(app) + "".join(app.selectbox[0].options)
    app.query_params["a"] = "a run"
    app.run()
    assert len(app.error) == 1
    assert "MLflow does not answer at http://127.0.0.1:1" in seen(app)


def test_overview_shows_the_champion(in_lab: Settings) -> None:
    app = open_page("overview")
    text = seen(app)
    decision = json.loads(find_version("emsam-neurites/1", in_lab).tags["emsam.decision"])
    assert "emsam-neurites/1" in text
    assert f"arand_contest_2d on tiny test slices {decision['candidate_score']:.4f}" in text
    assert re.search(r"95 % interval \d\.\d{4} to \d\.\d{4}", text)
    assert decision["digest"] in text
    assert "there was no champion" in text
    assert "No champion for mitochondria yet" in text


def test_overview_lists_runs_with_their_state(in_lab: Settings, odd_name: str) -> None:
    table = open_page("overview").dataframe[-1].value
    assert list(table["run"]) == [odd_name, "first"]
    assert list(table["state"]) == ["done", "done"]


def test_overview_notices_a_job_that_went_silent(in_lab: Settings) -> None:
    run = RunDirectory(in_lab.runs_root / "first")
    before = run.status_file.read_text()
    status = json.loads(before) | {"state": "running", "fraction": 0.5, "heartbeat": 1e9}
    try:
        run.status_file.write_text(json.dumps(status))
        table = open_page("overview").dataframe[-1].value
    finally:
        run.status_file.write_text(before)
    assert re.fullmatch(r"running, silent for \d+ min", table["state"][1])


def test_compare_shows_scores_and_marks_the_best(in_lab: Settings, odd_name: str) -> None:
    table = open_page("compare").dataframe[0].value.set_index("run")
    assert list(table.index) == [odd_name, "first"]
    means = {}
    for name in table.index:
        entry = read_scores(RunDirectory(in_lab.runs_root / name))["sets"][0]
        mean = next(m for m in entry["means"] if m["metric"] == "arand_contest_2d")
        means[name] = mean["mean"]
        assert table["arand_contest_2d ↓"][name] == pytest.approx(mean["mean"])
        span = f"{mean['low']:.4f} to {mean['high']:.4f}"
        assert table["arand_contest_2d interval"][name].endswith(span)
    marked = [n for n in table.index if table["arand_contest_2d interval"][n].startswith("★ ")]
    assert marked == [name for name in means if means[name] == min(means.values())]
    assert (table["minutes"] >= 0).all()
    assert next(iter(table.columns)) == "arand_contest_2d ↓"


def test_compare_shows_curves_and_differing_parameters(in_lab: Settings) -> None:
    app = open_page("compare")
    figure = json.loads(app.get("plotly_chart")[0].proto.spec)
    assert [trace["name"] for trace in figure["data"]] == ["odd &lt;b&gt;$x$ *bold*", "first"]
    assert figure["layout"]["yaxis"]["title"]["text"] == "train/loss"
    assert list(app.dataframe[1].value.index) == ["train.steps"]


def test_compare_shows_two_runs_slice_by_slice(in_lab: Settings, odd_name: str) -> None:
    app = open_page("compare")
    pairs = json.loads(app.get("plotly_chart")[2].proto.spec)["data"][1]
    for axis, name in (("x", odd_name), ("y", "first")):
        entry = read_scores(RunDirectory(in_lab.runs_root / name))["sets"][0]
        by_slice = [r["value"] for r in entry["rows"] if r["metric"] == "arand_contest_2d"]
        assert pairs[axis] == pytest.approx(by_slice)
    assert re.search(r"B is better than A by [+-]\d\.\d{4} arand_contest_2d", seen(app))


def test_a_filter_that_nothing_fits_says_so(in_lab: Settings) -> None:
    app = open_page("compare")
    app.text_input[0].set_value("train.steps=3").run()
    assert len(app.dataframe[0].value) == 1
    app.text_input[0].set_value("night=Shift").run()
    assert list(app.dataframe[0].value["run"]) == ["first"]
    app.text_input[0].set_value("no such words").run()
    assert not app.exception
    assert "No run fits" in seen(app)


def test_a_link_restores_the_view(in_lab: Settings) -> None:
    app = AppTest.from_file(APP, default_timeout=PATIENCE)
    app.query_params["metric"] = "train/gradient_norm"
    app.query_params["over"] = "minutes"
    app.run()
    app.switch_page("views/compare.py").run()
    assert not app.exception
    figure = json.loads(app.get("plotly_chart")[0].proto.spec)
    assert figure["layout"]["yaxis"]["title"]["text"] == "train/gradient_norm"
    assert figure["layout"]["xaxis"]["title"]["text"] == "minutes of training"


def test_others_must_not_reach_an_app_where_nobody_signs_in(in_lab: Settings) -> None:
    for address in ("0.0.0.0", "10.0.0.7", None):
        config.set_option("server.address", address)
        app = AppTest.from_file(APP, default_timeout=PATIENCE).run()
        assert "sign-in" in seen(app)
        assert not app.dataframe


def test_a_name_is_text_and_never_markup(in_lab: Settings, odd_name: str) -> None:
    pages = [open_page(page) for page in (*PAGES, "registry", "datasets", "jobs")]
    assert not any(each.allow_html for app in pages for each in app.markdown)
    assert plain(odd_name) == r"odd \<b\>\$x\$ \*bold\*"
