"""Masks: an evaluated slice as image, ground truth, prediction and errors."""

from __future__ import annotations

from typing import Any

import streamlit as st

from dashboards.elements import banner, number, plain, require_runs, score_sets, slice_pictures
from dashboards.panels import PANELS, evaluated_slices, slice_scores
from dashboards.queries.runs import RunRow, local_run
from emsam.settings import Settings


def choose_set(settings: Settings) -> tuple[RunRow, dict[str, Any]]:
    """A run of this machine and one of its evaluated sets."""
    by_id = {run.run_id: run for run in require_runs(settings)}
    left, right = st.columns(2)
    run = by_id[left.selectbox("Run", list(by_id), format_func=lambda i: by_id[i].label)]
    with banner():
        folder = local_run(run, settings)
        sets = {each["key"]: each for each in score_sets(run, settings)}
    if not sets:
        command = f"emsam evaluate {folder.path} --data {run.data} --split test"
        st.info(plain(f"Not evaluated yet: run '{command}'"))
        st.stop()
    key = right.selectbox(
        "Evaluated on",
        list(sets),
        format_func=lambda k: (
            f"{sets[k]['data']}, {sets[k]['split']} slices, step {sets[k]['step']}"
        ),
    )
    return run, sets[key]


def choose_slice(slices: list[int]) -> int:
    """The slice z; a set of one slice leaves no choice."""
    if len(slices) == 1:
        st.caption(f"Slice z = {slices[0]}, the only one")
        return slices[0]
    return int(st.select_slider("Slice z", slices))


def show_scores(entry: dict[str, Any], z: int) -> None:
    """Scores of the slice beside the mean over the set."""
    means = {mean["metric"]: mean["mean"] for mean in entry["means"]}
    scores = slice_scores(entry, z)
    for column, (metric, value) in zip(st.columns(len(scores)), scores.items(), strict=True):
        column.metric(plain(metric), number(value))
        column.caption(f"mean over the set {number(means.get(metric))}")


def show_page(settings: Settings) -> None:
    """Run, set, slice; then the pictures and what this slice scored."""
    st.title("Masks")
    run, entry = choose_set(settings)
    z = choose_slice(evaluated_slices(entry))
    with banner():
        pictures = slice_pictures(run, entry["key"], z, settings)
    for column, name, picture in zip(st.columns(len(PANELS)), PANELS, pictures, strict=True):
        column.image(picture, caption=name, alt=f"{name} of slice {z}", width="stretch")
    st.caption("Errors: orange where an object was split, blue where objects were merged.")
    show_scores(entry, z)
    st.caption(plain(f"Data version {entry['digest']}, checkpoint of step {entry['step']}"))


show_page(Settings())
