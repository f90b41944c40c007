"""Environment in which no component of the stack reports anything to anybody, nor chatters.

Without it some of them wait for a server far away before they start.
"""

from __future__ import annotations

import logging

QUIET_ENVIRONMENT = {
    "DO_NOT_TRACK": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "DVC_NO_ANALYTICS": "true",
    "STREAMLIT_BROWSER_GATHER_USAGE_STATS": "false",
}


def silence(library: str) -> None:
    """Keep a library's log from the terminal, where nobody has asked for it; errors still raise."""
    log = logging.getLogger(library)
    if not log.handlers:
        log.addHandler(logging.NullHandler())
