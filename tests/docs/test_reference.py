"""The reference says what the code says."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emsam.data.catalog import CATALOG
from emsam.params import Params, flatten
from emsam.settings import Settings

DOCS = Path(__file__).parents[2] / "docs"
NAMES = ("commands.md", "params.md", "settings.md")


@pytest.fixture(scope="module")
def generator() -> dict[str, Callable[..., Any]]:
    return runpy.run_path(str(DOCS / "generate_reference.py"))


@pytest.fixture(scope="module")
def pages(generator: dict[str, Callable[..., Any]]) -> dict[str, str]:
    made: dict[str, str] = generator["pages"]()
    return made


def test_the_page_of_data_sets_has_the_catalog(generator: dict[str, Callable[..., Any]]) -> None:
    written = (DOCS / "data.md").read_text()
    assert generator["data_page"](written) == written, "run 'make docs'"
    assert all(f"\n- `{name}`: " in written and f"\n| `{name}` | " in written for name in CATALOG)


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_up_to_date(pages: dict[str, str], name: str) -> None:
    written = (DOCS / "reference" / name).read_text()
    assert written == pages[name], "run 'python docs/generate_reference.py'"


def test_nothing_is_left_out(pages: dict[str, str]) -> None:
    assert set(pages) == set(NAMES) == {page.name for page in (DOCS / "reference").iterdir()}
    for key in flatten(Params().model_dump()):
        # a change of the augmentation is one row
        shown = key.rpartition(".")[0] if key.count(".") == 2 and "augment" in key else key
        assert f"| `{shown}` |" in pages["params.md"]
    for name in Settings.model_fields:
        assert f"| `EMSAM_{name.upper()}` |" in pages["settings.md"]
    for words in ("data ingest", "jobs stop", "registry verify", "segment", "up"):
        assert f"\n## emsam {words}\n" in pages["commands.md"]
    assert "| `--seed` | `0` |" in pages["commands.md"]
