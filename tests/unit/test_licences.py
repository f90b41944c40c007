from __future__ import annotations

import re
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]
LISTING = runpy.run_path(str(ROOT / "docs" / "list_licences.py"))


def test_the_page_lists_what_is_locked() -> None:
    text = (ROOT / "docs" / "licences.md").read_text()
    rows = dict(re.findall(r"^\| ([\w.-]+) \| (\d[\w.+]*) \|", text, re.MULTILINE))
    wanted = {name: version for name, version in LISTING["locked"]().items()
              if LISTING["licence"](name)}  # fmt: skip
    assert len(wanted) > 200
    assert rows == wanted, "run 'python docs/list_licences.py'"


def test_no_licence_binds_users() -> None:
    text = (ROOT / "docs" / "licences.md").read_text()
    assert "To be looked at" not in LISTING["page"]()
    assert "To be looked at" not in text
    assert LISTING["BINDING"].search("GNU Affero General Public License v3")
    assert not LISTING["BINDING"].search("GNU Lesser General Public License v3")
