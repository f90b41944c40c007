"""Compare runs: scores with intervals, learning curves, cost, single slices, parameters."""

from __future__ import annotations

from datetime import datetime

import pandas as pd
import streamlit as st

from dashboards.elements import (
    banner,
    follow_runs,
    interval,
    learning_curve,
    moment,
    plain,
    require_runs,
    score_sets,
    show_differing_params,
)
from dashboards.links import show_links
from dashboards.pairs import compare_slices
from dashboards.plots import draw_cost, draw_curves, draw_pairs
from dashboards.queries.runs import RunRow, ScoredSet, best_runs
from emsam.metrics.variants import LOWER_IS_BETTER, PRIMARY
from emsam.settings import Settings

ANY = "any"
MOST = 12


def filter_runs(runs: list[RunRow]) -> list[RunRow]:
    """Filters in a row; each is kept in the address of the page."""
    task, data, version, model = st.columns(4)
    runs = _choose(task, "Task", "task", runs, lambda run: run.task, anything=False)
    runs = _choose(data, "Trained on", "data", runs, lambda run: run.data)
    runs = _choose(version, "Data version", "version", runs, lambda run: run.digest)
    runs = _choose(model, "Model", "model", runs, lambda run: run.model)
    name, since = st.columns([3, 1])
    words = name.text_input("Name, tag or parameter contains", key="words", bind="query-params")
    day = since.date_input("Started since", None, key="since", bind="query-params")
    if words:
        runs = [run for run in runs if _mentions(run, words.lower())]
    if day:
        start = datetime(day.year, day.month, day.day).astimezone().timestamp() * 1000
        runs = [run for run in runs if run.started >= start]
    if not runs:
        st.info("No run fits; take a filter back.")
        st.stop()
    return runs


def _choose(column, label, key, runs, value, *, anything=True):  # type: ignore[no-untyped-def]
    options = sorted({value(run) for run in runs})
    chosen = column.selectbox(
        label, [*([ANY] if anything else []), *options], key=key, bind="query-params"
    )
    return [run for run in runs if chosen in (ANY, value(run))]


def _mentions(run: RunRow, words: str) -> bool:
    return words in run.name.lower() or any(
        words in f"{key}={value}".lower() for key, value in (run.params | run.tags).items()
    )


def choose_set(runs: list[RunRow]) -> ScoredSet | None:
    """What the scores of the table were made on."""
    known = {
        f"{each.data}, {each.split} slices, version {each.digest}": each
        for run in runs
        for each in run.scores()
    }
    if not known:
        st.info("Not scored yet: `emsam evaluate RUN --data NAME --split test`.")
        return None
    return known[st.selectbox("Scored on", sorted(known), key="scored", bind="query-params")]


def choose_runs(runs: list[RunRow], scored: ScoredSet | None) -> list[RunRow]:
    """The table; the rows that are ticked are compared below."""
    ids = [run.run_id for run in runs]
    asked = [each for each in st.query_params.get("runs", "").split(",") if each in ids]
    rows = [ids.index(each) for each in asked] or list(range(min(3, len(ids))))
    table = run_table(runs, scored)
    event = st.dataframe(
        table,
        column_config={
            name: st.column_config.NumberColumn(format="%.4f")
            for name in table.columns
            if name.endswith((" ↓", " ↑"))
        },
        key=f"table {hash(tuple(ids))}",
        on_select="rerun",
        selection_mode="multi-row",
        selection_default={"selection": {"rows": rows}},
        width="stretch",
        hide_index=True,
    )
    st.caption(
        "Mean over slices (95 % block-bootstrap interval). ★ best mean; where intervals overlap "
        "it proves nothing, and the gate decides. ↓ lower is better, ↑ higher is better. Tick runs "
        f"to compare them below, at most {MOST}."
    )
    chosen = [runs[row] for row in event.selection.rows][:MOST]
    if not chosen:
        st.info("Choose one run or more.")
        st.stop()
    st.query_params["runs"] = ",".join(run.run_id for run in chosen)
    return chosen


def run_table(runs: list[RunRow], scored: ScoredSet | None) -> pd.DataFrame:
    """A row a run; a column a metric variant, as a number that can be sorted by."""
    means = {run.run_id: run.scores().get(scored, {}) if scored else {} for run in runs}
    metrics = sorted({metric for each in means.values() for metric in each}, key=_rank)
    table = {"run": [run.label for run in runs]}
    for metric in metrics:
        values = {
            run_id: each[metric].mean if metric in each else None for run_id, each in means.items()
        }
        best = best_runs(values, metric)
        arrow = "↓" if metric in LOWER_IS_BETTER else "↑"
        table[f"{metric} {arrow}"] = list(values.values())
        table[f"{metric} interval"] = [
            f"{'★ ' if run_id in best else ''}"
            f"{interval(each[metric].low, each[metric].high) if metric in each else ''}"
            for run_id, each in means.items()
        ]
    table |= {
        "state": [run.state for run in runs],
        "model": [run.model for run in runs],
        "minutes": [None if run.minutes is None else round(run.minutes, 1) for run in runs],
        "memory (MB)": [run.memory for run in runs],
        "started": [moment(run.started) for run in runs],
        "data version": [run.digest for run in runs],
    }
    return pd.DataFrame(table)


def _rank(metric: str) -> tuple[bool, str]:
    return metric not in PRIMARY.values(), metric


@st.fragment
def show_curves(runs: list[RunRow], settings: Settings) -> None:
    """One metric over the steps or over time, all runs in one picture."""
    metrics = sorted({m for r in runs for m in r.values if m.startswith(("train/", "val/"))})
    if not metrics:
        st.info("No steps yet; the curves appear when the first ones are in MLflow.")
        return
    left, middle, right = st.columns([2, 1, 2])
    at = metrics.index("train/loss") if "train/loss" in metrics else 0
    metric = left.selectbox("Metric", metrics, index=at, key="metric", bind="query-params")
    axis = middle.selectbox("Over", ["step", "minutes"], key="over", bind="query-params")
    smoothing = right.slider("Smoothing", 0.0, 0.99, 0.0, key="smooth", bind="query-params")
    with banner():
        curves = {
            run.label: learning_curve(run, metric, settings) for run in runs if metric in run.values
        }
    st.plotly_chart(
        draw_curves(curves, metric, axis, smoothing),
        width="stretch",
        alt=plain(f"{metric} of {', '.join(curves)}"),
    )


@st.fragment
def show_cost(runs: list[RunRow], scored: ScoredSet | None) -> None:
    """All runs of the table: what a better score costs."""
    metrics = sorted({m for r in runs for m in r.scores().get(scored, {})}, key=_rank)
    if scored is None or not metrics:
        st.info("Shown once runs are scored.")
        return
    left, right = st.columns(2)
    metric = left.selectbox("Score", metrics, key="score", bind="query-params")
    cost = right.selectbox("Cost", ["minutes", "memory (MB)"], key="cost", bind="query-params")
    points = [
        (run.label, run.model, run.minutes if cost == "minutes" else run.memory, means[metric])
        for run in runs
        if metric in (means := run.scores().get(scored, {}))
    ]
    known = [each for each in points if each[2] is not None]
    st.plotly_chart(draw_cost(known, cost, metric), width="stretch", alt=f"{metric} against {cost}")
    if len(known) < len(points):
        st.caption(f"{len(points) - len(known)} runs do not say what they cost.")


@st.fragment
def show_pairs(runs: list[RunRow], scored: ScoredSet | None, settings: Settings) -> None:
    """Two runs, slice by slice."""
    scored_runs = {run.run_id: run for run in runs if scored in run.scores()}
    if scored is None or len(scored_runs) < 2:
        st.info("Tick two runs that are scored on the same slices.")
        return
    left, right = st.columns(2)

    def label(run_id: str) -> str:
        return scored_runs[run_id].label

    a = scored_runs[left.selectbox("A", list(scored_runs), format_func=label)]
    b = scored_runs[right.selectbox("B", list(scored_runs), index=1, format_func=label)]
    with banner(ends=False):
        pair = compare_slices(score_sets(a, settings), score_sets(b, settings), scored)
        if pair is None:
            st.info("Their single slices are not to be had here, or are other slices.")
            return
        found = pair.better
        span = interval(found.low, found.high)
        st.markdown(
            plain(f"B is better than A by {found.mean:+.4f} {pair.metric}")
            + (f", 95 % interval {span}" if span else "; too few slices for an interval")
        )
        st.plotly_chart(
            draw_pairs(pair.a, pair.b, pair.metric, (a.label, b.label)),
            width="stretch",
            alt=f"{pair.metric} of both runs on each slice",
        )
        st.caption(
            "The interval is the gate's: resampled blocks of neighbouring slices. What decides is "
            "the gate, which scores both again."
        )


def show_page(settings: Settings) -> None:
    """Filters and table; then what was ticked, a section each."""
    st.title("Compare runs")
    runs = filter_runs(require_runs(settings))
    scored = choose_set(runs)
    chosen = choose_runs(runs, scored)
    if len({run.digest for run in chosen}) > 1:
        st.warning("These runs were trained on different versions of the data set.")
    st.header("Learning curves")
    show_curves(chosen, settings)
    st.header("Score against cost")
    show_cost(runs, scored)
    st.header("Slice by slice")
    show_pairs(chosen, scored, settings)
    st.header("Parameters that differ")
    show_differing_params({run.label: run for run in chosen})
    show_links(chosen, settings)
    follow_runs(settings)


show_page(Settings())
