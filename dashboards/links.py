"""Links to MLflow's and Prefect's own pages, where those run."""

from __future__ import annotations

import os

import streamlit as st

from dashboards.elements import plain
from dashboards.queries.runs import RunRow
from dashboards.queries.tracker import tracker_address
from emsam.services import address_of
from emsam.settings import Settings


def show_links(runs: list[RunRow], settings: Settings) -> None:
    """To the pages of runs in MLflow, and to Prefect's runs."""
    root = tracker_address(settings)
    if root.startswith("http"):
        for run in runs:
            address = f"{root}/#/experiments/{run.experiment}/runs/{run.run_id}"
            st.link_button(plain(f"{run.label} in MLflow"), address)
    else:
        st.caption(plain(f"From {root}; 'emsam up' starts MLflow's own pages"))
    prefect = os.environ.get("PREFECT_API_URL") or address_of("prefect", settings.home)
    if prefect:
        st.link_button("Flow runs in Prefect", prefect.removesuffix("/api") + "/runs")
