"""The review app: ``python -m dashboards``, with any option of ``streamlit run`` behind it.

What the pages need is imported and the runs are listed before the app answers, so that whoever
comes first waits no longer than the others.
"""

from __future__ import annotations

import gc
import sys
import threading
from contextlib import suppress
from pathlib import Path

import plotly.graph_objects  # noqa: F401
from streamlit.web import cli

import dashboards.pairs
import dashboards.queries.registry  # noqa: F401
from dashboards.kept import RUNS
from dashboards.queries.tracker import TrackerUnreachable
from emsam.errors import InputError
from emsam.settings import Settings

OPTIONS = {
    "server.headless": "true",
    "server.address": "127.0.0.1",
    "server.fileWatcherType": "none",  # it looks through all modules for each who comes
    "browser.gatherUsageStats": "false",
    "client.showErrorDetails": "none",
    "client.toolbarMode": "minimal",
}
"""What differs from Streamlit's defaults; an option given on the command line wins."""
PATIENCE = 5.0
"""Seconds that the app waits for MLflow before it starts without an answer."""


def list_runs() -> None:
    """The pages say it if something is wrong."""
    with suppress(TrackerUnreachable, InputError):
        RUNS.get(Settings())


def main() -> None:
    app = str(Path(__file__).with_name("app.py"))
    options = [f"--{name}={value}" for name, value in OPTIONS.items()]
    asking = threading.Thread(target=list_runs, daemon=True)
    asking.start()
    asking.join(PATIENCE)
    # Streamlit collects garbage after each run of a script, 0.2 s if it has to walk through all
    # that was imported: more than any page takes.
    gc.freeze()
    cli.main(["run", app, *options, *sys.argv[1:]], prog_name="python -m dashboards")


if __name__ == "__main__":
    main()
