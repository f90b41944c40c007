"""What every benchmark shares: its options and how its rows are printed."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from typing import Any

from emsam.documents import finite_or_none

Row = dict[str, Any]
"""``name``, ``ours``, ``peer``, ``ratio`` (ours to the peer) and ``unit``, and more."""


def options(doc: str) -> argparse.ArgumentParser:
    """A parser with ``--json`` that begins its help with the first line of ``doc``."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser


def ratio(ours: float, peer: float) -> float:
    """NaN where the peer has 0."""
    return ours / peer if peer else math.nan


def show(rows: list[Row], as_json: bool, line: Callable[[Row], str]) -> None:
    """Print rows as one JSON document, or each as the text that ``line`` makes of it."""
    print(json.dumps(finite_or_none(rows), indent=2) if as_json else "\n".join(map(line, rows)))
