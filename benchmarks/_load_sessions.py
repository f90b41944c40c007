"""Sessions of the dashboard as a browser opens them: Streamlit's websocket, without drawing."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field

import websockets
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

PAGES = ("", "compare", "registry", "datasets", "jobs")
"""Paths of the pages that a session walks through; the first is the overview."""
_ANSWER = 120.0
"""Seconds after which a page counts as an error."""
_LARGEST = 1 << 28


@dataclass
class Pages:
    """What sessions saw.

    Attributes
    ----------
    seconds
        From asking for a page to the last of its parts, by path.
    errors
        Pages that did not come, or came with an exception, in words.
    """

    seconds: dict[str, list[float]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def all_seconds(self) -> list[float]:
        return [each for page in self.seconds.values() for each in page]


def walk(address: str, sessions: int, seconds: float) -> Pages:
    """Open ``sessions`` at once, each of which looks at one page after the other.

    Parameters
    ----------
    address
        ``http://127.0.0.1:PORT``.
    seconds
        After which no session asks for another page.
    """
    found = Pages()
    asyncio.run(_walk_all(address, sessions, seconds, found))
    return found


async def _walk_all(address: str, sessions: int, seconds: float, found: Pages) -> None:
    until = time.monotonic() + seconds
    walks = (_walk(address, number, until, found) for number in range(sessions))
    await asyncio.gather(*walks)


async def _walk(address: str, number: int, until: float, found: Pages) -> None:
    """One session: people read a page for a few seconds before they ask for the next."""
    dice = random.Random(number)
    await asyncio.sleep(dice.uniform(0, 3))
    url = f"{address.replace('http', 'ws', 1)}/_stcore/stream"
    try:
        async with websockets.connect(
            url,
            origin=address,
            subprotocols=["streamlit"],
            max_size=_LARGEST,
            ping_interval=None,
            open_timeout=_ANSWER,
        ) as socket:
            at = number
            while time.monotonic() < until:
                page = PAGES[at % len(PAGES)]
                began = time.monotonic()
                await asyncio.wait_for(_ask(socket, page, found), _ANSWER)
                found.seconds.setdefault(page, []).append(time.monotonic() - began)
                at += 1
                await asyncio.sleep(dice.uniform(2, 5))
    except (OSError, TimeoutError, websockets.WebSocketException) as error:
        found.errors.append(f"session {number}: {type(error).__name__} {error}")


async def _ask(socket: websockets.ClientConnection, page: str, found: Pages) -> None:
    """Ask for a page and read until its script has ended."""
    asked = BackMsg()
    asked.rerun_script.page_name = page
    await socket.send(asked.SerializeToString())
    began = False
    while True:
        message = ForwardMsg()
        message.ParseFromString(await socket.recv())
        kind = message.WhichOneof("type")
        if kind == "new_session":
            began = True
        elif kind == "delta" and message.delta.new_element.WhichOneof("type") == "exception":
            found.errors.append(f"page {page!r}: {message.delta.new_element.exception.message}")
        elif kind == "page_not_found":
            found.errors.append(f"page {page!r}: not found")
        elif kind == "script_finished" and began:
            return
