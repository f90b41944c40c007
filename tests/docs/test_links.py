"""Every relative link leads somewhere, and every page can be found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT, anchors, links, pages

DOCS = ROOT / "docs"


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_relative_links_and_anchors_exist(page: Path) -> None:
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{page}: {link}; there is {sorted(anchors(target))}"


def test_the_index_leads_to_every_page() -> None:
    index = DOCS / "README.md"
    reached = {(DOCS / link.partition("#")[0]).resolve() for link in links(index)}
    assert {page for page in DOCS.rglob("*.md") if page != index} <= reached


def test_pages_that_the_code_names_exist() -> None:
    for room in ("emsam", "flows", "dashboards", "benchmarks"):
        for file in (ROOT / room).rglob("*.py"):
            for name in re.findall(r"docs/[\w/-]+\.md", file.read_text()):
                assert (ROOT / name).exists(), f"{file}: {name}"


def test_pictures_of_the_docs_are_all_used() -> None:
    used = {(page.parent / link).resolve() for page in pages() for link in links(page)}
    assert set((DOCS / "images").iterdir()) <= used
