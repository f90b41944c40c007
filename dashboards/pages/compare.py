"""Compare runs: scores with intervals, learning curves, the parameters that differ."""

from __future__ import annotations

import html
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from dashboards.elements import (
    banner,
    interval,
    learning_curve,
    number,
    plain,
    require_runs,
    score_sets,
)
from dashboards.queries import RunRow, best_runs, differing_params, find_set
from emsam.metrics.score_slice import LOWER_IS_BETTER
from emsam.settings import Settings

# Okabe & Ito's palette without yellow and black, which vanish on a white or a dark page.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
_DASHES = ("solid", "dash", "dot", "dashdot")
# A curve with no more points than this shows each.
_FEW_POINTS = 60


def choose_runs(runs: list[RunRow]) -> list[RunRow]:
    """Filters by task and data, then the runs: numbers of other data cannot be compared."""
    left, right = st.columns(2)
    task = left.selectbox("Task", sorted({run.task for run in runs}))
    runs = [run for run in runs if run.task == task]
    data = right.selectbox("Trained on", sorted({run.data for run in runs}))
    by_id = {run.run_id: run for run in runs if run.data == data}
    chosen = st.multiselect(
        "Runs", list(by_id), default=list(by_id)[:3], format_func=lambda i: by_id[i].label
    )
    if not chosen:
        st.info("Choose one run or more.")
        st.stop()
    return [by_id[run_id] for run_id in chosen]


def show_scores(runs: list[RunRow], settings: Settings) -> None:
    """A table of one evaluated set: a row a run, a column a metric variant."""
    st.header("Scores")
    sets = {run.run_id: score_sets(run, settings) for run in runs}
    known = {(s["data"], s["split"], s["digest"]): None for each in sets.values() for s in each}
    if not known:
        st.info("Not scored yet: `emsam evaluate RUN --data NAME --split test`.")
        return
    data, split, digest = st.selectbox(
        "Scored on", list(known), format_func=lambda k: f"{k[0]}, {k[1]} slices, version {k[2]}"
    )
    chosen = {
        run.run_id: find_set(sets[run.run_id], data=data, split=split, digest=digest)
        for run in runs
    }
    st.dataframe(score_table(runs, chosen), width="stretch")
    st.caption(
        "Mean over slices (95 % block-bootstrap interval). ★ best mean; where intervals overlap "
        "it proves nothing, and the gate decides. ↓ lower is better, ↑ higher is better."
    )


def score_table(runs: list[RunRow], entries: dict[str, dict[str, Any] | None]) -> pd.DataFrame:
    """Cells such as ``★ 0.0543 (0.0512 to 0.0580)``; a dash where a run has no score."""
    means = {
        run_id: {mean["metric"]: mean for mean in entry["means"]} if entry else {}
        for run_id, entry in entries.items()
    }
    metrics = list(dict.fromkeys(metric for scored in means.values() for metric in scored))
    columns = {}
    for metric in metrics:
        values = {run_id: scored.get(metric, {}).get("mean") for run_id, scored in means.items()}
        best = best_runs(values, metric)
        arrow = "↓" if metric in LOWER_IS_BETTER else "↑"
        columns[f"{metric} {arrow}"] = [
            _cell(means[run.run_id].get(metric), best=run.run_id in best) for run in runs
        ]
    return pd.DataFrame(columns, index=[run.label for run in runs])


def _cell(mean: dict[str, Any] | None, *, best: bool) -> str:
    if mean is None:
        return "–"
    span = interval(mean["low"], mean["high"])
    return f"{'★ ' if best else ''}{number(mean['mean'])}{f' ({span})' if span else ''}"


def show_curves(runs: list[RunRow], settings: Settings) -> None:
    """One metric over the steps, all runs in one picture."""
    st.header("Learning curves")
    metrics = sorted(
        {m for run in runs for m in run.metrics if m.startswith(("train/", "val/"))}
        - {m for run in runs for m in run.metrics if m.endswith(("_low", "_high"))}
    )
    if not metrics:
        st.info("No steps yet; the curves appear when the first ones are in MLflow.")
        return
    at = metrics.index("train/loss") if "train/loss" in metrics else 0
    metric = st.selectbox("Metric", metrics, index=at)
    curves = {
        run.label: learning_curve(run.run_id, metric, settings)
        for run in runs
        if metric in run.metrics
    }
    st.plotly_chart(
        draw_curves(curves, metric),
        width="stretch",
        alt=plain(f"{metric} over steps of {', '.join(curves)}"),
    )


def draw_curves(curves: dict[str, tuple[list[int], list[float]]], metric: str) -> go.Figure:
    """Curves told apart by colour, and by dashes when colours are used up."""
    figure = go.Figure()
    for index, (label, (steps, values)) in enumerate(curves.items()):
        figure.add_scatter(
            x=steps,
            y=values,
            # Plotly reads names as HTML.
            name=html.escape(label, quote=False),
            mode="lines+markers" if len(steps) <= _FEW_POINTS else "lines",
            line={
                "color": _COLOURS[index % len(_COLOURS)],
                "dash": _DASHES[index // len(_COLOURS) % len(_DASHES)],
            },
        )
    return figure.update_layout(
        xaxis_title="step",
        yaxis_title=html.escape(metric, quote=False),
        showlegend=True,
        hovermode="x unified",
        legend={"orientation": "h", "y": -0.2},
        margin={"t": 10},
    )


def show_params(runs: list[RunRow]) -> None:
    """Only the parameters that differ."""
    st.header("Parameters that differ")
    differing = differing_params(runs)
    if len(runs) < 2:
        st.info("Choose a second run to see what differs.")
    elif not differing:
        st.info("None: these runs have the same parameters.")
    else:
        names = [run.label for run in runs]
        st.dataframe(
            pd.DataFrame.from_dict(differing, orient="index", columns=names), width="stretch"
        )


def show_page(settings: Settings) -> None:
    """Filters, scores, curves, parameters."""
    st.title("Compare runs")
    runs = choose_runs(require_runs(settings))
    if len({run.digest for run in runs}) > 1:
        st.warning("These runs were trained on different versions of the data set.")
    with banner():
        show_scores(runs, settings)
        show_curves(runs, settings)
    show_params(runs)


show_page(Settings())
