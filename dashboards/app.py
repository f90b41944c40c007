"""The dashboard: ``streamlit run dashboards/app.py``."""

from __future__ import annotations

import streamlit as st

# No icons: the browser would fetch them from a server far away, for the tab.
st.set_page_config(page_title="EM-SAM", layout="wide")
st.navigation(
    [
        st.Page("pages/overview.py", title="Overview", default=True),
        st.Page("pages/compare.py", title="Compare runs"),
        st.Page("pages/masks.py", title="Masks"),
    ]
).run()
