"""The little HTTP that the stack needs; Prefect's and MLflow's clients take seconds to import."""

from __future__ import annotations

import base64
import json
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any

from emsam.errors import StackFailed

QUICK, PATIENT = 10.0, 60.0
"""Seconds for an answer to whether all is well, and to anything else."""


_REFUSED, _ABSENT, _BUSY = 401, 404, 503
"""Prefect says busy while others write to its SQLite, above all after a restart."""


class NotThere(Exception):
    """The server answers that it has no such thing."""


def answers(url: str) -> bool:
    """Whether a server answers with success."""
    try:
        with urllib.request.urlopen(url, timeout=QUICK) as reply:
            return 200 <= reply.status < 300
    except (OSError, ValueError, HTTPException):
        return False


def ask(method: str, url: str, document: Any = None, auth: str = "") -> Any:
    """Send a JSON document and return the one that comes back, ``None`` for an empty reply.

    Parameters
    ----------
    auth
        ``user:password``, where the server asks for one.

    Raises
    ------
    NotThere
        The server has no such thing.
    StackFailed
        It refuses, or does not answer.
    """
    body = None if document is None else json.dumps(document).encode()
    headers = {"Content-Type": "application/json"}
    if auth:
        headers["Authorization"] = f"Basic {base64.b64encode(auth.encode()).decode()}"
    request = urllib.request.Request(url, data=body, method=method, headers=headers)
    until = time.monotonic() + PATIENT
    while True:
        try:
            with urllib.request.urlopen(request, timeout=PATIENT) as reply:
                text = reply.read()
            return json.loads(text) if text else None
        except (OSError, HTTPException) as error:  # the latter: it died in the middle of an answer
            code = error.code if isinstance(error, urllib.error.HTTPError) else None
            if code == _ABSENT:
                raise NotThere(url) from None
            if code == _REFUSED:
                raise StackFailed(
                    f"{url}: refuses our password; set PREFECT_API_AUTH_STRING to what it wants"
                ) from None
            if code != _BUSY or time.monotonic() > until:
                raise StackFailed(f"{url}: {error}; see 'emsam status'") from None
            time.sleep(1)
