"""What the pages share: cached queries, banners, names and numbers as text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import streamlit as st

from dashboards import queries
from dashboards.panels import draw_panels, read_slice
from dashboards.queries import RunRow, TrackerUnreachable
from emsam.errors import InputError
from emsam.settings import Settings

FRESH = 5
"""Seconds that an answer of MLflow is kept."""
_MARKUP = re.compile(r"([\\`*_\[\]<>$:~|!#&^])")


def _cached(query: Callable[..., Any]) -> Callable[..., Any]:
    by_value = {Settings: Settings.model_dump_json, RunRow: repr}
    return st.cache_data(query, ttl=FRESH, show_spinner=False, hash_funcs=by_value)


list_runs = _cached(queries.list_runs)
find_champion = _cached(queries.find_champion)
score_sets = _cached(queries.score_sets)
learning_curve = _cached(queries.learning_curve)


@st.cache_data(
    max_entries=64,
    show_spinner="Drawing the slice",
    hash_funcs={Settings: Settings.model_dump_json, RunRow: repr},
)
def slice_pictures(run: RunRow, key: str, z: int, settings: Settings) -> list[bytes]:
    """Pictures of a slice as PNG; ``key`` of the entry of ``scores.json`` names what was scored."""
    folder = queries.local_run(run, settings)
    entry = queries.find_set(queries.score_sets(run, settings), key=key)
    if entry is None:
        raise InputError(f"{folder.path}: was evaluated again meanwhile; reload this page")
    return draw_panels(read_slice(folder, entry, z, settings))


@contextmanager
def banner() -> Iterator[None]:
    """Show what a user can mend as one line, and end the page there."""
    try:
        yield
    except (InputError, TrackerUnreachable) as error:
        st.error(plain(str(error)), icon=":material/error:")
        st.stop()


def require_runs(settings: Settings) -> list[RunRow]:
    """All runs; where there are none the page says what to do next, and ends."""
    with banner():
        runs = list_runs(settings)
    if not runs:
        st.info("No runs yet: run `make demo`, or `emsam pipeline` on a volume of your own.")
        show_unmirrored(runs, settings)
        st.stop()
    return runs


def show_unmirrored(runs: list[RunRow], settings: Settings) -> None:
    """Say of every run of this machine that MLflow does not have how to bring it there."""
    for folder in queries.unmirrored_runs(runs, settings):
        st.caption(plain(f"{folder} is not in MLflow yet: run 'emsam registry sync {folder}'"))


def plain(text: str) -> str:
    """``text`` with Markdown's signs escaped, so that a name is shown as it was written."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))


def moment(milliseconds: int) -> str:
    """Unix time in ms as local date and time."""
    return datetime.fromtimestamp(milliseconds / 1000).astimezone().strftime("%Y-%m-%d %H:%M")


def number(value: float | None) -> str:
    """Four decimals, or a dash."""
    return "–" if value is None or value != value else f"{value:.4f}"


def interval(low: float | None, high: float | None) -> str:
    """``0.0512 to 0.0580``; empty where there is no interval."""
    return "" if low is None or high is None else f"{number(low)} to {number(high)}"
