"""docs/flows.md has a diagram of every flow, and of no other."""

from __future__ import annotations

import ast
import re

from tests.docs.markdown import ROOT, blocks

PAGE = ROOT / "docs" / "flows.md"


def flow_names() -> set[str]:
    """The names in ``@flow(name=…)`` of all files in flows/."""
    found = set()
    for file in (ROOT / "flows").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "flow":
                found |= {ast.literal_eval(k.value) for k in node.keywords if k.arg == "name"}
    return found


def test_every_flow_has_its_diagram() -> None:
    sections = re.split(r"^## (.+)$", PAGE.read_text(), flags=re.MULTILINE)
    drawn = dict(zip(sections[1::2], sections[2::2], strict=True))
    assert set(drawn) == flow_names()
    for name, text in drawn.items():
        assert text.count("```mermaid\nflowchart ") == 1, name
    for block in blocks(PAGE, "mermaid"):
        for node in re.findall(r"\b(?:subgraph|end)\b", block.text):
            raise AssertionError(f"{block.name}: {node} is a word of Mermaid's own")
        assert block.text.count('"') % 2 == 0
