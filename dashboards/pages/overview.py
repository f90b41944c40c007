"""Overview: the champion of each task, and all runs with their state."""

from __future__ import annotations

import time

import streamlit as st

from dashboards.elements import (
    banner,
    find_champion,
    interval,
    list_runs,
    moment,
    number,
    plain,
    require_runs,
    show_unmirrored,
)
from dashboards.queries import (
    MOST_RUNS,
    Champion,
    RunRow,
    local_status,
    tracker_address,
)
from emsam.metrics.score_slice import LOWER_IS_BETTER, PRIMARY
from emsam.params import TASKS, Task
from emsam.settings import Settings
from emsam.train.run_directory import RUNNING

# Seconds without a heartbeat after which a running job is called silent. In a page this is a
# comment: Streamlit shows a string that stands alone.
_SILENT = 120


def show_champion(task: Task, champion: Champion | None) -> None:
    """A card: who it is, what it scored and why it was chosen."""
    st.subheader(task.capitalize())
    if champion is None:
        model = Settings().model_name(task)
        st.info(
            f"No champion for {task} yet: register a run with `emsam registry register RUN`, then "
            f"`emsam promote {model}/1 --data NAME`."
        )
        return
    st.markdown(f"**{plain(champion.model)}/{plain(champion.version)}**")
    better = "lower" if champion.metric in LOWER_IS_BETTER else "higher"
    st.metric(
        plain(f"{champion.metric} on {champion.data} {champion.split} slices"),
        number(champion.score),
        help=f"Mean over slices; {better} is better.",
    )
    span = interval(champion.low, champion.high)
    st.caption(f"95 % interval {span}" if span else "No interval: too few slices, or not known")
    facts = {
        "Run": champion.run,
        "Since": moment(champion.since),
        "Reason": champion.reason,
        "Scored on data version": champion.digest,
        "Trained on data version": champion.trained_on,
    }
    st.dataframe(
        [{"": name, "value": value} for name, value in facts.items()],
        width="stretch",
        hide_index=True,
    )


@st.fragment(run_every="10s")
def show_runs(settings: Settings) -> None:
    """The table of runs; it follows running jobs by itself."""
    with banner():
        runs: list[RunRow] = list_runs(settings)
    st.dataframe(
        [
            {
                "run": run.name,
                "state": _state(run, settings),
                "task": run.task,
                "model": run.model,
                "data": run.data,
                "data version": run.digest,
                "started": moment(run.started),
            }
            for run in runs
        ],
        width="stretch",
        hide_index=True,
    )
    if len(runs) == MOST_RUNS:
        st.caption(f"The newest {MOST_RUNS} runs; MLflow has the older ones.")
    show_unmirrored(runs, settings)


def _state(run: RunRow, settings: Settings) -> str:
    """State of the run directory where it can be read, else of the mirror."""
    status = local_status(run, settings)
    state = str(status.get("state", run.state))
    if state != RUNNING or "heartbeat" not in status:
        return state
    silent = time.time() - float(status["heartbeat"])
    if silent > _SILENT:
        return f"{state}, silent for {silent / 60:.0f} min"
    return f"{state}, {100 * float(status.get('fraction', 0)):.0f} %"


def show_page(settings: Settings) -> None:
    """Champions side by side, then the runs."""
    st.title("Overview")
    require_runs(settings)
    for column, task in zip(st.columns(len(PRIMARY), gap="large"), TASKS, strict=True):
        with column, banner():
            show_champion(task, find_champion(task, settings))
    st.header("Runs")
    show_runs(settings)
    st.caption(plain(f"From MLflow at {tracker_address(settings)}"))


show_page(Settings())
