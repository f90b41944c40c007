"""Every message that docs/troubleshooting.md quotes is one that the code can print."""

from __future__ import annotations

import ast
import re

from tests.docs.markdown import ROOT

PAGE = ROOT / "docs" / "troubleshooting.md"
GAP = "…"


def quoted() -> list[str]:
    """The code in the first column of the tables."""
    return re.findall(r"^\| `([^`]+)` \|", PAGE.read_text(), re.MULTILINE)


def spoken() -> list[str]:
    """All texts in the code, with a gap for each value that is put in."""
    found = []
    for room in ("emsam", "flows"):
        for file in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.JoinedStr):
                    found.append("".join(map(_piece, node.values)))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
    return found


def _piece(node: ast.expr) -> str:
    return str(node.value) if isinstance(node, ast.Constant) else GAP


def _collapsed(text: str) -> str:
    return re.sub(f"{GAP}+", GAP, text)


def test_each_quoted_message_exists() -> None:
    texts = [_collapsed(text) for text in spoken()]
    lines = quoted()
    assert len(lines) > 40
    for line in lines:
        # what stands before a colon may be put in front elsewhere
        words = _collapsed(line).removeprefix(f"{GAP}: ").removesuffix(GAP)
        assert any(words in text for text in texts), line
