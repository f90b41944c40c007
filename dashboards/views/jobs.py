"""Jobs: what runs and how far it is, its log, stop it; start a fine-tuning through Prefect."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboards.elements import banner, duration, fine_tune_deployments, forget, number, plain
from dashboards.people import Person, current_person
from dashboards.progress import show_job
from dashboards.queries.datasets import volume_names
from dashboards.queries.jobs import jobs, log_tail, start_fine_tune
from emsam.launch.jobs import Job, stop_job
from emsam.params import TASKS, load_params
from emsam.settings import Settings
from emsam.train.run_directory import ACTIVE

_LINES = 40


@st.fragment(run_every="3s")
def show_running(settings: Settings, person: Person) -> None:
    """Bars that move by themselves, and a button to stop each."""
    running = [job for job in jobs(settings) if job.state in ACTIVE]
    if not running:
        st.caption("No job runs on this machine.")
    for job in running:
        bar, button = st.columns([6, 1], vertical_alignment="bottom")
        with bar:
            show_job(job)
        pressed = button.button(
            "Stop", key=f"stop {job.id}", disabled=not person.may_review,
            help="It saves a checkpoint first, and can go on later.",
        )  # fmt: skip
        if pressed and person.may_review:  # a browser may say that it pressed any button
            with banner(ends=False):
                stop_job(job.id, settings)
                st.toast(plain(f"{job.id} has stopped at a checkpoint"))


def show_ended(found: list[Job]) -> None:
    """The newest jobs that have ended."""
    rows = [
        {
            "job": job.id,
            "state": job.state,
            "step": job.step,
            "loss": number(job.loss),
            "ended": "–" if job.heartbeat_age is None else f"{duration(job.heartbeat_age)} ago",
            "note": job.note,
        }
        for job in found
        if job.state not in ACTIVE
    ]
    if rows:
        st.dataframe(pd.DataFrame(rows), width="stretch", hide_index=True)


@st.fragment(run_every="5s")
def show_log(names: list[str], settings: Settings) -> None:
    """The last lines that a job printed."""
    name = st.selectbox("Job", names, key="job", bind="query-params")
    with banner(ends=False):
        text = log_tail(name, settings, _LINES)
        st.code(text or "It has printed nothing yet.", language=None)


def show_form(settings: Settings, person: Person) -> None:
    """A fine-tuning as a run of a Prefect deployment; the app itself trains nothing."""
    st.header("Start a fine-tuning")
    if not person.may_review:
        st.info("Your role may not start jobs; ask an administrator.")
        return
    names = volume_names(settings)
    with banner(ends=False):
        deployments = fine_tune_deployments(settings)
        if not (names and deployments):
            missing = "a volume: `emsam data ingest`" if not names else "deployments: `emsam up`"
            st.info(f"This needs {missing}.")
            return
        with st.form("start"):
            left, middle, right = st.columns(3)
            deployment = left.selectbox("Where", deployments)
            data = middle.selectbox("Volume", names)
            task = right.selectbox("Task", TASKS)
            steps = left.number_input("Steps", 1, 10_000_000, 400)
            model = middle.selectbox("Model", ["emsam", "published", "unet"])
            encoder = right.selectbox("Encoder", ["vit_t", "vit_s", "vit_b", "vit_l", "vit_h"])
            more = st.text_area(
                "More parameters, one a line",
                placeholder="train.batch_size=4",
                help="As --set takes them; docs/reference/params.md names them all.",
            )
            if st.form_submit_button("Start", type="primary"):
                items = [
                    f"data.name={data}", f"task={task}", f"train.steps={steps}",
                    f"model.name={model}", f"model.encoder={encoder}",
                    *(line.strip() for line in more.splitlines() if line.strip()),
                ]  # fmt: skip
                run = start_fine_tune(deployment, load_params(None, items), settings)
                forget()
                st.success(plain(f"Flow run {run} waits for a worker; it appears above."))


def show_page(settings: Settings) -> None:
    """Running jobs, ended ones, a log, and a form for the next."""
    st.title("Jobs")
    with banner():
        person = current_person(settings)
    show_running(settings, person)
    found = jobs(settings)
    show_ended(found)
    if found:
        st.header("Log")
        show_log([job.id for job in found], settings)
    else:
        st.info("No jobs yet: start one below, or run `emsam train` or `make demo`.")
    show_form(settings, person)


show_page(Settings())
