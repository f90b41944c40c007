"""Secrets that nothing may keep, and a search for them."""

from __future__ import annotations

import subprocess
from pathlib import Path

CANARY = "canary-7f3a"
"""In every one of them."""
CANARIES = {
    "AWS_ACCESS_KEY_ID": f"{CANARY}-aws-key",
    "AWS_SECRET_ACCESS_KEY": f"{CANARY}-aws-secret",
    "AWS_SESSION_TOKEN": f"{CANARY}-aws-token",
    "MLFLOW_TRACKING_USERNAME": "ada",
    "MLFLOW_TRACKING_PASSWORD": f"{CANARY}-mlflow",
    "MLFLOW_FLASK_SERVER_SECRET_KEY": f"{CANARY}-flask",
    "PREFECT_API_AUTH_STRING": f"ada:{CANARY}-prefect",
    "EMSAM_NOTIFY": f"json://ada:{CANARY}-notify@127.0.0.1:9/",
    "EMSAM_WEIGHTS_URL": f"http://ada:{CANARY}-mirror@127.0.0.1:9/",
    "EMSAM_DOWNLOADS_URL": f"http://ada:{CANARY}-mirror@127.0.0.1:9/",
    "PGPASSWORD": f"{CANARY}-postgres",
}
"""An environment as a lab's, in which every secret can be told from all else."""


def holders(folder: Path) -> list[str]:
    """Files below ``folder``, databases among them, that hold a canary."""
    grep = ["grep", "--recursive", "--files-with-matches", "--text", "--fixed-strings", CANARY]
    return subprocess.run([*grep, folder], capture_output=True, text=True).stdout.splitlines()
