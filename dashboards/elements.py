"""What the pages share: cached queries, banners, names and numbers as text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pandas as pd
import streamlit as st

from dashboards.kept import FRESH, RUNS
from dashboards.queries import champions, datasets, jobs, registry, runs
from dashboards.queries.jobs import PrefectUnreachable
from dashboards.queries.runs import Curve, RunRow
from dashboards.queries.tracker import TrackerUnreachable
from emsam.errors import InputError, LedgerFailed
from emsam.metrics import as_text
from emsam.settings import Settings

# Okabe & Ito's palette without yellow and black, which vanish on a white or a dark page.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
_MARKUP = re.compile(r"([\\`*_\[\]<>$:~|!#&^])")


def _cached(query: Callable[..., Any], fresh: float | None = FRESH) -> Callable[..., Any]:
    by_value = {Settings: Settings.model_dump_json, RunRow: lambda run: run.run_id}
    return st.cache_data(
        query, ttl=fresh, max_entries=1000, show_spinner=False, hash_funcs=by_value
    )


def _curve_until(
    newest: tuple[float, float | None], run_id: str, metric: str, settings: Settings
) -> Curve:
    """A curve that ends in ``newest``, a value at a minute: it is asked for again after that."""
    return runs.learning_curve(run_id, metric, settings)


score_sets = _cached(runs.score_sets)
_curve = _cached(_curve_until, fresh=None)
find_champion = _cached(champions.find_champion)
model_names = _cached(registry.model_names)
model_history = _cached(registry.model_history)
open_decisions = _cached(registry.open_decisions)
published = _cached(datasets.published)
fine_tune_deployments = _cached(jobs.fine_tune_deployments)


def forget() -> None:
    """Ask everything anew: something was just changed."""
    st.cache_data.clear()
    RUNS.forget()


def list_runs(settings: Settings) -> list[RunRow]:
    """:func:`dashboards.queries.runs.list_runs`, which takes a second for hundreds of runs."""
    return RUNS.get(settings)


def learning_curve(run: RunRow, metric: str, settings: Settings) -> Curve:
    """:func:`dashboards.queries.runs.learning_curve` up to what the list of runs says."""
    return _curve((run.values[metric], run.minutes), run.run_id, metric, settings)


def follow_runs(settings: Settings) -> None:
    """Show the page anew if the runs that it shows were old and others are there by now."""
    if RUNS.is_renewing(settings):
        _show_newer(list_runs(settings), settings)


@st.fragment(run_every="1s")
def _show_newer(shown: list[RunRow], settings: Settings) -> None:
    newest = RUNS.last(settings)
    if newest is not None and newest != shown:
        st.rerun()


@contextmanager
def banner(*, ends: bool = True) -> Iterator[None]:
    """Show what a user can mend as one line, and end the page there.

    Parameters
    ----------
    ends
        ``False``: the rest of the page goes on.
    """
    try:
        yield
    except (InputError, LedgerFailed, TrackerUnreachable, PrefectUnreachable) as error:
        st.error(plain(str(error)), icon=":material/error:")
        if ends:
            st.stop()


def require_runs(settings: Settings) -> list[RunRow]:
    """All runs; where there are none the page says what to do next, and ends."""
    with banner():
        found = list_runs(settings)
    if not found:
        st.info("No runs yet: run `make demo`, or `emsam pipeline` on a volume of your own.")
        show_unmirrored(found, settings)
        st.stop()
    return found


def show_unmirrored(known: list[RunRow], settings: Settings) -> None:
    """Say of every run of this machine that MLflow does not have how to bring it there."""
    for folder in runs.unmirrored_runs(known, settings):
        st.caption(plain(f"{folder} is not in MLflow yet: run 'emsam registry sync {folder}'"))


def facts(rows: dict[str, object]) -> None:
    """A table of names and values, which are shown whole."""
    table = {name: plain(str(value)) for name, value in rows.items()}
    st.table(pd.Series(table, name="value"), border="horizontal", hide_header=True)


def show_differing_params(named: Mapping[str, RunRow]) -> None:
    """A table of the parameters that are not the same in all runs, a column for each name."""
    differing = runs.differing_params(list(named.values()))
    if len(named) < 2:
        st.info("Only one; there is nothing to see a difference from.")
    elif not differing:
        st.info("None: all have the same parameters.")
    else:
        table = pd.DataFrame.from_dict(differing, orient="index", columns=list(named))
        st.dataframe(table, width="stretch")


def plain(text: str) -> str:
    """``text`` with Markdown's signs escaped, so that a name is shown as it was written."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))


def moment(milliseconds: float) -> str:
    """Unix time in ms as local date and time."""
    return datetime.fromtimestamp(milliseconds / 1000).astimezone().strftime("%Y-%m-%d %H:%M")


def local_time(iso: str) -> str:
    """A time of the ledger, ISO 8601, as local date and time."""
    return moment(datetime.fromisoformat(iso).timestamp() * 1000)


def number(value: float | None) -> str:
    """Four decimals, or a dash."""
    return as_text.number(value, "–")


def interval(low: float | None, high: float | None) -> str:
    """``0.0512 to 0.0580``; empty where there is no interval."""
    return as_text.interval(low, high, "")


def duration(seconds: float | None) -> str:
    """``45 s``, ``12 min`` or ``3.5 h``; a dash where it is not known."""
    if seconds is None:
        return "–"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
