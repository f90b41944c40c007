"""A person reviews masks in a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from dashboards.queries.review import list_decisions, read_comments
from emsam.data.store import Volume
from emsam.registry.approval import answer_decision
from emsam.registry.comments import decision_subject
from emsam.settings import Settings
from tests.dashboards.browser import (
    PATIENCE,
    needs_chromium,
    ready,
    running_app,
    running_browser,
    watched_page,
)
from tests.waiting import wait_for

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

expect = pytest.importorskip("playwright.sync_api").expect
expect.set_options(timeout=PATIENCE)
pytestmark = [pytest.mark.slow, needs_chromium]


@pytest.fixture(scope="module")
def lab(review_lab: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The lab with a ledger that may be written."""
    home = tmp_path_factory.mktemp("browser") / "home"
    shutil.copytree(review_lab.home, home)
    return review_lab.model_copy(update={"home": home})


@pytest.fixture(scope="module")
def app(lab: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the dashboard."""
    with running_app(lab, tmp_path_factory.mktemp("app") / "log") as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as opened:
        yield opened


@pytest.fixture
def page(browser: Browser, app: str) -> Iterator[Page]:
    """The page "Review masks" with the newest decision, ready."""
    with watched_page(browser, app) as opened:
        opened.goto(app)
        opened.get_by_role("link", name="Review masks").click()
        ready(opened)
        yield opened


def pixels(page: Page, layer: str) -> list[int]:
    """What a panel shows, as bytes of its canvas."""
    return page.locator(f'.panel[data-layer="{layer}"] canvas').evaluate(
        """canvas => [...canvas.getContext('2d')
            .getImageData(0, 0, canvas.width, canvas.height).data].filter((_, n) => n % 97 == 0)"""
    )


def screen_point(page: Page, layer: str, y: float, x: float) -> tuple[float, float]:
    """Where a pixel of the volume is on the screen."""
    state = ready(page)
    box = page.locator(f'.panel[data-layer="{layer}"]').bounding_box()
    assert box is not None
    zoom = float(state["zoom"])
    return (
        box["x"] + box["width"] / 2 + (x + 0.5 - float(state["x"])) * zoom,
        box["y"] + box["height"] / 2 + (y + 0.5 - float(state["y"])) * zoom,
    )


def test_all_panels_show_the_slice_and_follow_the_keys(page: Page) -> None:
    state = ready(page, z=10)
    before = {layer: pixels(page, layer) for layer in ("image", "truth", "a", "errors")}
    assert len({tuple(each) for each in before.values()}) == 4
    assert page.locator('.panel[data-layer="b"]').is_hidden()  # there is no second model
    page.keyboard.press("ArrowUp")
    assert ready(page, z=11)["zoom"] == state["zoom"]
    for layer, old in before.items():
        assert pixels(page, layer) != old, layer
    page.keyboard.press("ArrowDown")
    ready(page, z=10)
    assert {layer: pixels(page, layer) for layer in before} == before


def test_pan_and_zoom_are_linked_and_fetch_finer_tiles(page: Page) -> None:
    first = ready(page, z=10)
    assert first["level"] != "0"
    x, y = screen_point(page, "truth", 320, 300)
    page.mouse.move(x, y)
    page.keyboard.down("Control")
    for _ in range(4):
        page.mouse.wheel(0, -240)
    page.keyboard.up("Control")
    near = ready(page, level=0)
    assert float(near["zoom"]) > 4 * float(first["zoom"])
    before = pixels(page, "image")
    page.mouse.down()
    page.mouse.move(x - 120, y - 60, steps=4)
    page.mouse.up()
    moved = ready(page)
    step = 120 / float(near["zoom"])
    assert float(moved["x"]) == pytest.approx(float(near["x"]) + step, abs=2)
    assert float(moved["y"]) == pytest.approx(float(near["y"]) + step / 2, abs=2)
    assert pixels(page, "image") != before  # dragged in the truth, and the image came along
    page.keyboard.press("f")
    whole = ready(page, level=first["level"])
    assert float(whole["zoom"]) == pytest.approx(float(first["zoom"]), rel=0.05)


def test_the_id_under_the_mouse_is_the_one_in_the_store(page: Page, lab: Settings) -> None:
    truth = Volume(lab.volume_path("tissue")).labels("neurites", 10)
    y, x = 320, 300
    while not truth[y, x]:
        x += 1
    tip = page.locator(".tip")
    for layer in ("image", "a"):
        page.mouse.move(*screen_point(page, layer, y, x))
        tip.wait_for()
        for _ in range(4):
            page.keyboard.press("+")
        ready(page, level=0)
        page.mouse.move(*screen_point(page, layer, y, x))
        expect(tip).to_contain_text(f"truth {truth[y, x]}")
        expect(tip).to_contain_text("A ")


def test_keys_hide_panels_and_change_how_objects_are_drawn(page: Page) -> None:
    ready(page)
    wide = page.locator('.panel[data-layer="image"]').bounding_box()
    for key in "235":
        page.keyboard.press(key)
    ready(page)
    assert page.locator('.panel[data-layer="truth"]').is_hidden()
    assert page.locator('.panel[data-layer="image"]').bounding_box()["width"] > wide["width"]
    for key in "235":
        page.keyboard.press(key)
    ready(page)
    fills = pixels(page, "truth")
    page.keyboard.press("o")
    ready(page)
    outlines = pixels(page, "truth")
    page.keyboard.press("o")

    def colourful(shown: list[int]) -> int:
        return len(set(shown))

    assert outlines != fills
    assert colourful(outlines) != colourful(fills)


def test_a_click_on_an_error_jumps_to_it(page: Page) -> None:
    ready(page, z=10)
    rows = page.locator(".list button")
    worst = rows.first.inner_text()
    assert "merge" in worst
    place = worst.split(" at ")[1].split(";")[0]  # "y, x"
    y, x = (int(part) for part in place.split(", "))
    z = int(worst.split("z ")[1].split()[0])
    rows.first.click()
    state = ready(page, z=z)
    assert (int(state["y"]), int(state["x"])) in {(y, x), (y + 1, x), (y, x + 1), (y + 1, x + 1)}
    assert rows.first.get_attribute("aria-current") == "true"
    page.keyboard.press("n")
    assert rows.nth(1).get_attribute("aria-current") == "true"


def test_the_address_leads_to_the_same_place(page: Page, browser: Browser, app: str) -> None:
    ready(page)
    page.locator(".list button").first.click()
    state = ready(page)
    page.wait_for_url("**zoom=**")
    with watched_page(browser, app) as other:
        other.goto(page.url)
        again = ready(other, z=state["z"])
    for name in ("y", "x"):
        assert float(again[name]) == pytest.approx(float(state[name]), abs=1)
    assert float(again["zoom"]) == pytest.approx(float(state["zoom"]), rel=0.01)


def test_a_comment_is_kept_and_pinned(page: Page, lab: Settings) -> None:
    page.mouse.move(*screen_point(page, "a", 300, 280))
    page.keyboard.press("c")
    box = page.get_by_role("dialog")
    box.get_by_role("textbox").fill("a <b>strange</b> boundary")
    box.get_by_role("button", name="Save the comment").click()
    box.wait_for(state="detached")
    decision = list_decisions(lab)[0].decision
    (kept,) = read_comments(decision.digest, decision_subject(decision.sha256), lab)
    assert (kept["z"], kept["text"]) == (10, "a <b>strange</b> boundary")
    assert kept["y"] == pytest.approx(300, abs=3)
    page.get_by_role("tab", name="Comments 1").click()
    row = page.locator(".list button")
    assert "a <b>strange</b> boundary" in row.inner_text()
    page.keyboard.press("ArrowUp")
    ready(page, z=11)
    row.click()
    ready(page, z=10)


def test_a_key_opens_the_answer_and_only_the_button_gives_it(page: Page, lab: Settings) -> None:
    ready(page)
    page.keyboard.press("a")
    box = page.get_by_role("dialog")
    box.get_by_role("button", name="Approve").click()
    box.get_by_text("Say why").wait_for()
    box.get_by_role("textbox").fill("the merge is in a blood vessel")
    assert list_decisions(lab)[0].answer is None
    box.get_by_role("button", name="Approve").click()
    page.get_by_text("approved emsam-neurites/1").wait_for()
    answer = wait_for(lambda: list_decisions(lab)[0].answer, "the approval")
    assert (answer.answer, answer.reason) == ("approved", "the merge is in a blood vessel")


def test_of_two_people_one_answers_and_the_other_is_told(page: Page, lab: Settings) -> None:
    ready(page)
    page.keyboard.press("r")
    box = page.get_by_role("dialog")
    box.get_by_role("textbox").fill("no")
    decision = list_decisions(lab)[0].decision
    answer_decision(decision.sha256, lab, by="ada", reason="yes, <b>good</b>")
    box.get_by_role("button", name="Reject").click()
    box.get_by_text("ada approved this decision meanwhile: yes, <b>good</b>").wait_for()
    answer = list_decisions(lab)[0].answer
    assert answer is not None
    assert (answer.by, answer.answer) == ("ada", "approved")


def test_it_is_readable_in_the_dark(browser: Browser, app: str) -> None:
    with watched_page(browser, app, color_scheme="dark") as page:
        page.goto(app)
        page.get_by_role("link", name="Review masks").click()
        ready(page)
        back, front = page.locator(".list button").first.evaluate(
            """row => [getComputedStyle(document.querySelector('.stApp')).backgroundColor,
                getComputedStyle(row).color].map(c => c.match(/\\d+/g).slice(0, 3)
                .reduce((sum, each) => sum + Number(each), 0))"""
        )
        assert back < 150
        assert front > 450
