"""The pages beside the masks in a real browser; their pictures in the docs are made here.

``EMSAM_SCREENSHOTS=docs/images pytest tests/dashboards/test_browser.py -k screenshots`` makes them
anew; ``EMSAM_SCREENSHOT_LAB`` names a folder in which 'emsam pipeline' ran, to show that one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dashboards.queries.registry import model_history
from dashboards.queries.runs import list_runs
from emsam.settings import Settings
from tests.dashboards.browser import (
    needs_chromium,
    open_menu,
    ready,
    running_app,
    running_browser,
    watched_page,
)
from tests.dashboards.conftest import folders
from tests.registry.workers import NAME

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.slow, needs_chromium]
PAGES = {
    "overview": "Waits for review",
    "compare": "Parameters that differ",
    "review": "Review masks",
    "registry": "Ledger",
    "datasets": "Runs trained on it",
    "jobs": "Start a fine-tuning",
}
"""Pages by their address, with a headline that comes late."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as browser:
        yield browser


def open_page(page: Page, address: str, name: str, query: str = "") -> None:
    """Go to a page and wait until it is drawn."""
    path = "" if name == "overview" else name
    page.goto(f"{address}/{path}{query}")
    page.get_by_role("heading", name=PAGES[name], exact=True).wait_for()
    page.locator("[data-testid=stStatusWidget]").wait_for(state="hidden")


def test_screenshots_of_every_page(
    lab: Settings, browser: Browser, tmp_path: Path
) -> None:  # fmt: skip
    shown = os.environ.get("EMSAM_SCREENSHOT_LAB")
    settings = lab if not shown else folders(Path(shown), home=".emsam")
    into = Path(os.environ.get("EMSAM_SCREENSHOTS", tmp_path))
    with (
        running_app(settings, tmp_path / "log") as address,
        watched_page(browser, address, viewport={"width": 1280, "height": 900}) as page,
    ):
        for name in PAGES:
            open_page(page, address, name)
            if name == "review":
                ready(page)
            page.wait_for_timeout(1000)  # plots move into place
            file = into / f"dashboard-{name}.png"
            page.screenshot(path=file)
            assert page.get_by_test_id("stException").count() == 0
            assert file.stat().st_size > 20_000


@pytest.mark.parametrize("page_name", ["", *PAGES])
def test_nobody_comes_past_the_sign_in(
    lab: Settings, browser: Browser, tmp_path: Path, page_name: str
) -> None:
    """Whatever page of a server that has just started is asked for first."""
    secrets = tmp_path / "secrets.toml"
    secrets.write_text('[auth]\nredirect_uri = "http://localhost/x"\ncookie_secret = "secret"\n')
    with (
        running_app(lab, tmp_path / "log", STREAMLIT_SECRETS_FILES=str(secrets)) as address,
        watched_page(browser, address) as page,
    ):
        page.goto(f"{address}/{page_name}")
        page.get_by_role("button", name="Sign in").wait_for()
        page.wait_for_timeout(500)
        assert page.get_by_role("heading").all_text_contents() == ["EM-SAM"]


def test_a_shared_link_shows_the_same_comparison(
    lab: Settings, browser: Browser, tmp_path: Path
) -> None:
    runs = {run.name: run.run_id for run in list_runs(lab)}
    query = f"?runs={runs['first']}&metric=train%2Fgradient_norm"
    with running_app(lab, tmp_path / "log") as address:
        with watched_page(browser, address) as page:
            open_page(page, address, "compare", query)
            assert page.locator(".legendtext").first.text_content() == "first"
            open_menu(page, "Over")
            page.get_by_role("option", name="minutes").click()
            page.get_by_text("minutes of training").first.wait_for()
            shared = page.url
        with watched_page(browser, address) as page:
            page.goto(shared)
            page.get_by_text("minutes of training").first.wait_for()
            page.get_by_text("train/gradient_norm").first.wait_for()


def test_promote_and_roll_back(undecided: Settings, browser: Browser, tmp_path: Path) -> None:
    with (
        running_app(undecided, tmp_path / "log", EMSAM_APPROVAL="required") as address,
        watched_page(browser, address) as page,
    ):
        open_page(page, address, "registry")
        page.get_by_label("Reason; it is kept as your approval").fill("masks <b>look</b> right")
        page.get_by_role("button", name="Promote").click()
        page.get_by_text(f"{NAME}/2 is champion").wait_for()
        assert model_history(NAME, undecided).aliases()["champion"] == 2
        page.get_by_label("Reason; it is kept in the ledger").fill("merges axons")
        page.get_by_role("button", name="Roll back").click()
        page.get_by_text(f"{NAME}/1 is champion again").wait_for()
        assert model_history(NAME, undecided).aliases()["champion"] == 1
