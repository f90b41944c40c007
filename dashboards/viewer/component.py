"""The viewer as a component of Streamlit: its files, its messages, its memory of tiles."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from dashboards.viewer.scene import Scene
from dashboards.viewer.tiles import TILE, TileCache, asked_tiles, encode_tiles, pack
from emsam.errors import InputError
from emsam.segment.figures import EXTRA_COLOUR, MERGE_COLOUR, MISSED_COLOUR, SPLIT_COLOUR

KEY = "viewer"
_FOLDER = Path(__file__).parent
_SCRIPTS = ("store.js", "paint.js", "viewer.js", "controls.js")
"""One module, whose functions see each other; there is no build step."""
_MOST_SLICES = 8
"""Slices whose errors one answer has."""

_mount = st.components.v2.component(
    "emsam_viewer",
    css=(_FOLDER / "viewer.css").read_text(),
    js="".join((_FOLDER / name).read_text() for name in _SCRIPTS),
)


@st.cache_resource
def tile_cache() -> TileCache:
    """Encoded tiles, shared by all who look."""
    return TileCache()


def show_viewer(
    scene: Scene,
    place: Mapping[str, float],
    comments: Sequence[Mapping[str, Any]],
    *,
    may: Mapping[str, bool],
    on_mark: Callable[[dict[str, Any]], None],
    on_answer: Callable[[str], None],
) -> None:
    """Show a scene; call it inside a fragment, which answers each request for tiles.

    Parameters
    ----------
    place
        Where to begin: ``z``, ``y``, ``x``, ``zoom``, each only if it is known.
    comments
        ``z``, ``y``, ``x``, ``text``, ``by``, ``at``.
    may
        What this person may do here: ``comment``, ``answer``.
    on_mark
        Told the place that shall be commented.
    on_answer
        Told ``approve`` or ``reject`` when somebody begins to; nothing is written by then.
    """

    def mark() -> None:
        if isinstance(said := st.session_state[KEY].get("mark"), dict):
            on_mark(said)

    def answer() -> None:
        if (said := st.session_state[KEY].get("answer")) in ("approve", "reject"):
            on_answer(said)

    wanted = st.session_state.get(KEY, {}).get("want")
    # "sent" makes each message another one. Streamlit keeps large messages and sends a reference
    # where one is repeated, which a browser that has dropped it by then takes for a fatal error.
    page = {
        "place": dict(place),
        "comments": list(comments),
        "may": dict(may),
        "sent": time.time_ns(),
    }
    _mount(
        key=KEY,
        data=message(scene, wanted if isinstance(wanted, dict) else {}, page),
        on_want_change=lambda: None,
        on_mark_change=mark,
        on_answer_change=answer,
    )


def message(scene: Scene, wanted: Mapping[str, Any], page: Mapping[str, Any]) -> bytes:
    """What the browser gets: the tiles that it asked for, and what it does not know yet."""
    knows = wanted.get("token") == scene.token
    header: dict[str, Any] = {"token": scene.token, "answers": wanted.get("number"), **page}
    if not knows:
        header["scene"] = scene.describe() | {"tile": TILE, "colours": _COLOURS}
    slices = wanted.get("errors") if knows else None
    header["errors"] = {
        z: scene.errors_of(z)
        for z in (slices[:_MOST_SLICES] if isinstance(slices, list) else ())
        if type(z) is int and z in scene.slices
    }
    try:
        tiles = asked_tiles(scene, wanted.get("tiles") if knows else None)
        return pack(header, encode_tiles(scene, tiles, tile_cache()))
    except InputError as error:
        return pack(header | {"problem": str(error)}, {})
    except (OSError, ValueError):
        return pack(header | {"problem": f"{scene.volume.path}: cannot be read; reload"}, {})


_COLOURS = {
    "split": SPLIT_COLOUR,
    "merge": MERGE_COLOUR,
    "missed": MISSED_COLOUR,
    "extra": EXTRA_COLOUR,
}
