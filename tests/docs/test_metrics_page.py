"""The numbers of docs/metrics.md are those that the code gives."""

from __future__ import annotations

import runpy

from tests.docs.markdown import ROOT


def test_the_scores_of_the_page_are_those_of_the_code() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    cases = runpy.run_path(str(ROOT / "docs" / "draw_metrics.py"))["cases"]()
    assert len(cases) == 7
    for case in cases:
        assert case.row in page.splitlines(), f"{case.picture}, {case.title}: {case.scores}"
