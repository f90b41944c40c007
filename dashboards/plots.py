"""Figures of the pages: Plotly, colours that colour-blind people tell apart, names as text."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Literal

import plotly.graph_objects as go

from dashboards.elements import COLOURS
from dashboards.queries.runs import Curve, Mean, smoothed

Axis = Literal["step", "minutes"]
_DASHES = ("solid", "dash", "dot", "dashdot")
_FEW_POINTS = 60
"""A curve with no more points than this shows each."""


def text(name: str) -> str:
    """Plotly reads names as HTML."""
    return html.escape(name, quote=False)


def draw_curves(
    curves: Mapping[str, Curve], metric: str, axis: Axis = "step", smoothing: float = 0.0
) -> go.Figure:
    """Learning curves, told apart by colour, and by dashes when colours are used up."""
    figure = go.Figure()
    for index, (label, curve) in enumerate(curves.items()):
        figure.add_scatter(
            x=curve.steps if axis == "step" else curve.minutes,
            y=smoothed(curve.values, smoothing),
            name=text(label),
            mode="lines+markers" if len(curve.steps) <= _FEW_POINTS else "lines",
            line={
                "color": COLOURS[index % len(COLOURS)],
                "dash": _DASHES[index // len(COLOURS) % len(_DASHES)],
            },
        )
    unit = "step" if axis == "step" else "minutes of training"
    return _finish(figure, unit, metric).update_layout(hovermode="x unified")


def draw_cost(
    runs: Sequence[tuple[str, str, float, Mean]], cost: str, metric: str
) -> go.Figure:  # fmt: skip
    """Score against cost.

    Parameters
    ----------
    runs
        Name, model, cost and score of each.
    """
    figure = go.Figure()
    for index, model in enumerate(sorted({each[1] for each in runs})):
        mine = [each for each in runs if each[1] == model]
        figure.add_scatter(
            x=[each[2] for each in mine],
            y=[each[3].mean for each in mine],
            text=[text(each[0]) for each in mine],
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [_beyond(each[3].high, each[3].mean) for each in mine],
                "arrayminus": [_beyond(each[3].mean, each[3].low) for each in mine],
                "thickness": 1,
            },
            name=text(model),
            mode="markers",
            marker={"color": COLOURS[index % len(COLOURS)], "symbol": index % 8, "size": 9},
        )
    return _finish(figure, cost, metric)


def draw_pairs(a: Mapping[int, float], b: Mapping[int, float], metric: str,
               names: tuple[str, str]) -> go.Figure:  # fmt: skip
    """Scores of two runs on the same slices, one point a slice, and where they would be equal."""
    slices = sorted(set(a) & set(b))
    known = [each[z] for each in (a, b) for z in slices if each[z] == each[z]]  # no NaN
    ends = [min(known), max(known)] if known else []
    figure = go.Figure()
    figure.add_scatter(x=ends, y=ends, mode="lines", name="equal", line={"color": "#888888"})
    figure.add_scatter(
        x=[a[z] for z in slices],
        y=[b[z] for z in slices],
        text=[f"z = {z}" for z in slices],
        mode="markers",
        name="a slice",
        marker={"color": COLOURS[0], "size": 8},
    )
    return _finish(figure, f"{metric}, A: {names[0]}", f"{metric}, B: {names[1]}")


def draw_splits(splits: Mapping[str, tuple[int, int]], depth: int, missing: Sequence[int],
                unlabelled: Mapping[str, Sequence[int]]) -> go.Figure:  # fmt: skip
    """Splits as bars over z; missing sections and slices without labels as marks below."""
    figure = go.Figure()
    order = ("train", "val", "test")
    for name, (first, last) in splits.items():
        figure.add_bar(
            base=[first - 0.5], x=[last - first + 1], y=["split"], orientation="h",
            name=f"{name} {first}–{last}", marker={"color": COLOURS[order.index(name)]},
        )  # fmt: skip
    marks = {"missing": missing} | {f"no {task}": z for task, z in unlabelled.items()}
    for index, (name, slices) in enumerate(marks.items()):
        if slices:
            figure.add_scatter(
                x=list(slices), y=[name] * len(slices), name=name, mode="markers",
                marker={"symbol": "line-ns-open", "size": 12, "color": COLOURS[3 + index % 3]},
            )  # fmt: skip
    figure = _finish(figure, "z", "").update_xaxes(range=[-0.5, depth - 0.5])
    return figure.update_layout(barmode="overlay", height=230, legend={"y": -0.7})


def _beyond(high: float | None, low: float | None) -> float:
    return 0.0 if high is None or low is None else max(0.0, high - low)


def _finish(figure: go.Figure, x: str, y: str) -> go.Figure:
    return figure.update_layout(
        xaxis_title=text(x),
        yaxis_title=text(y),
        showlegend=True,
        legend={"orientation": "h", "y": -0.25},
        margin={"t": 10, "r": 10},
    )
