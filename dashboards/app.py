"""The dashboard's pages, and who may see them; ``python -m dashboards`` runs it."""

from __future__ import annotations

import streamlit as st

from dashboards.elements import banner
from dashboards.people import current_person, listens_here_alone, signs_in
from emsam.settings import Settings

# No icons: the browser would fetch them from a server far away, for the tab.
st.set_page_config(page_title="EM-SAM", layout="wide")
# Streamlit leaves a hand's breadth empty above a page, where masks could be.
st.html("<style>.stMainBlockContainer { padding-top: 2.5rem }</style>")


def show_who() -> None:
    """Who acts, in the side bar; nobody comes further who may not."""
    if not (signs_in() or listens_here_alone(st.get_option("server.address"))):
        st.error(
            "Nobody signs in to this app, and others can reach it. Start it with "
            "`--server.address 127.0.0.1`, or set up sign-in: see docs/review.md."
        )
        st.stop()
    with banner():
        person = current_person(Settings())
    with st.sidebar:
        rights = "read only" if person.read_only else person.role
        st.caption(f"{person.name}, {rights}")
        if signs_in():
            st.button("Sign out", on_click=st.logout)
        else:
            st.caption("On this machine only: nobody signs in.")


show_who()
# The folder is not called "pages": what is in a folder of that name Streamlit serves by itself,
# without this file and whoever it asks, until this file has run for the first time.
st.navigation(
    [
        st.Page("views/overview.py", title="Overview", default=True),
        st.Page("views/compare.py", title="Compare runs"),
        st.Page("views/review.py", title="Review masks"),
        st.Page("views/registry.py", title="Registry"),
        st.Page("views/datasets.py", title="Data sets"),
        st.Page("views/jobs.py", title="Jobs"),
    ]
).run()
