"""A job as a line with a bar."""

from __future__ import annotations

import streamlit as st

from dashboards.elements import duration, number, plain
from emsam.launch.jobs import Job


def show_job(job: Job) -> None:
    """How far it is, how fast, and what is left."""
    where = ", ".join(job.slots) or job.host
    words = [f"{job.id}: {job.state}"]
    if job.steps:
        words.append(f"step {job.step} of {job.steps}")
    elif job.step:
        words.append(f"step {job.step}")
    if job.loss is not None:
        words.append(f"loss {number(job.loss)}")
    if job.seconds_left is not None:
        words.append(f"{duration(job.seconds_left)} left")
    if job.note:
        words.append(job.note)
    st.progress(job.fraction, text=plain(", ".join([*words, where])))
