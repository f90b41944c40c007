"""The dashboard in a real browser: Streamlit on a free port, headless Chromium, a page that is
watched for errors of scripts and for requests to other hosts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from emsam.quiet import QUIET_ENVIRONMENT
from emsam.settings import Settings
from tests import waiting
from tests.ports import free_port
from tests.waiting import wait_until_served

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).parents[2]
CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--force-color-profile=srgb",
)  # fmt: skip
PATIENCE = 1000 * waiting.PATIENCE
"""ms that a page may take; machines that test are busy."""

needs_chromium = pytest.mark.skipif(
    not CHROMIUM.exists(), reason=f"no {CHROMIUM}; apt-get install -y chromium"
)


@contextmanager
def running_app(settings: Settings, log: Path, **more: str) -> Iterator[str]:
    """Address of a dashboard that runs with ``settings``; it ends with the context.

    Parameters
    ----------
    log
        File for what it prints.
    more
        Environment variables beside those of the settings.
    """
    port = free_port()
    names = ("home", "data_root", "runs_root", "mlflow_uri")
    environment = os.environ | QUIET_ENVIRONMENT | more
    environment |= {f"EMSAM_{name.upper()}": str(getattr(settings, name)) for name in names}
    environment["PYTHONPATH"] = str(ROOT)
    command = [
        sys.executable, "-m", "dashboards", "--server.port", str(port),
        "--client.showErrorDetails", "full",
    ]  # fmt: skip
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=output,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            wait_until_served(f"http://127.0.0.1:{port}/_stcore/health", process, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def running_browser() -> Iterator[Browser]:
    """Debian's Chromium, without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=list(FLAGS), timeout=PATIENCE
        )
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def watched_page(browser: Browser, address: str, **options: object) -> Iterator[Page]:
    """A page of its own session; at the end nothing may have gone wrong in it.

    That is: no error on the console or in a script, no request to another host, and no dialog of
    the browser, such as an injected script would open.

    Parameters
    ----------
    address
        The dashboard's.
    options
        Of Playwright's ``new_context``, such as ``color_scheme="dark"``.
    """
    context = browser.new_context(**{"viewport": {"width": 1500, "height": 1000}, **options})
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    wrong: list[str] = []
    here = urlsplit(address).netloc

    def request(asked: object) -> None:
        parts = urlsplit(asked.url)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.netloc != here:
            wrong.append(f"request to {asked.url}")

    def console(message: object) -> None:
        # a page's own address is first taken for the folder of the app, and asked for its health
        if message.type == "error" and "/_stcore/" not in message.location.get("url", ""):
            wrong.append(f"console: {message.text}")

    def dialog(box: object) -> None:
        wrong.append(f"a dialog of the browser: {box.message}")
        box.dismiss()

    page.on("request", request)
    page.on("console", console)
    page.on("pageerror", lambda error: wrong.append(f"script: {error}"))
    page.on("dialog", dialog)
    try:
        yield page
    finally:
        context.close()
    assert not wrong, wrong


def ready(page: Page, **expected: object) -> dict[str, str]:
    """Wait until all that is in view of the masks is drawn, at the expected z, level …; returns
    the viewer's state."""
    # what a key or a click has asked for is begun in the next frame
    page.evaluate("new Promise(go => requestAnimationFrame(() => requestAnimationFrame(go)))")
    wanted = {"state": "ready", **{name: str(value) for name, value in expected.items()}}
    wanted_json = json.dumps(wanted)
    page.wait_for_function(
        """wanted => {
            const find = root => root.querySelector('.viewer') ?? [...root.querySelectorAll('*')]
                .filter(e => e.shadowRoot).map(e => find(e.shadowRoot)).find(Boolean);
            const state = find(document)?.dataset ?? {};
            return Object.entries(JSON.parse(wanted)).every(([k, v]) => state[k] === v);
        }""",
        arg=wanted_json,
    )
    return page.locator(".viewer").evaluate("viewer => ({...viewer.dataset})")


def open_menu(page: Page, label: str) -> None:
    """Open a box of choices; one that scrolls into view after the click would close again."""
    box = page.get_by_role("combobox", name=label)
    box.scroll_into_view_if_needed()
    before = None
    while (place := box.bounding_box()) != before:
        before = place
        page.wait_for_timeout(500)
    box.click()
