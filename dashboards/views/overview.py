"""Overview: the champion of each task, what waits for a person, what runs, and all runs."""

from __future__ import annotations

import time

import streamlit as st

from dashboards.elements import (
    banner,
    find_champion,
    interval,
    list_runs,
    local_time,
    moment,
    number,
    open_decisions,
    plain,
    require_runs,
    show_unmirrored,
)
from dashboards.elements import facts as show_facts
from dashboards.progress import show_job
from dashboards.queries.champions import Champion
from dashboards.queries.jobs import jobs
from dashboards.queries.runs import MOST_RUNS, RunRow, local_status
from dashboards.queries.tracker import tracker_address
from emsam.metrics.variants import LOWER_IS_BETTER, PRIMARY
from emsam.params import TASKS, Task
from emsam.settings import Settings
from emsam.train.run_directory import ACTIVE, RUNNING

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
    show_facts(
        {
            "Run": champion.run,
            "Since": moment(champion.since),
            "By": champion.by or "not known",
            "Reason": champion.reason,
            "Scored on data version": champion.digest,
            "Trained on data version": champion.trained_on,
        }
    )


def show_waiting(settings: Settings) -> None:
    """Decisions that a person can still turn into a champion."""
    st.header("Waits for review")
    with banner(ends=False):
        waiting = open_decisions(settings)
        if not waiting:
            st.caption("Nothing: the gate has no decision to promote that is still open.")
        for each in waiting:
            decision = each.decision
            words = f"{decision.candidate}: {decision.reason} ({each.state}, {local_time(each.at)})"
            st.page_link(
                "views/review.py",
                label=plain(words),
                query_params={"decision": decision.sha256[:12]},
            )


@st.fragment(run_every="5s")
def show_running(settings: Settings) -> None:
    """Jobs of this machine that work now."""
    running = [job for job in jobs(settings) if job.state in ACTIVE]
    if not running:
        st.caption("No job runs on this machine.")
    for job in running:
        show_job(job)


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
    """Champions side by side, what waits, what runs, then the runs."""
    st.title("Overview")
    require_runs(settings)
    for column, task in zip(st.columns(len(PRIMARY), gap="large"), TASKS, strict=True):
        with column, banner():
            show_champion(task, find_champion(task, settings))
    show_waiting(settings)
    st.header("Running")
    show_running(settings)
    st.header("Runs")
    show_runs(settings)
    st.caption(plain(f"From MLflow at {tracker_address(settings)}"))


show_page(Settings())
