"""Every command in a page could be typed: it exists, with these options and these parameters.

Blocks that are executed are executed by tests/flows/test_documented_commands.py; here all are read.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from emsam.cli.app import app
from emsam.params import load_params
from tests.docs.markdown import ROOT, blocks, pages

ELLIPSIS = "…"


def words_of(line: str) -> list[str]:
    """A line without its comment and without the variables before the command."""
    words = shlex.split(line, comments=True)
    while words and re.fullmatch(r"\w+=.*", words[0], re.DOTALL):
        words.pop(0)
    return words[1:] if words[:1] == ["export"] else words


def leaf(words: list[str]) -> tuple[Any, list[str]]:
    """The command that ``emsam WORDS`` means, and what is left for it."""
    command = typer.main.get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]
    return command, words


def check_emsam(words: list[str]) -> None:
    command, rest = leaf(words)
    assert not hasattr(command, "commands") or command.params, f"{words}: no such command"
    if ELLIPSIS in rest:
        known = {name for option in command.params for name in option.opts}
        assert {word for word in rest if word.startswith("--")} <= known
        return
    given = command.make_context(command.name, list(rest)).params
    file = given.get("params")
    assert file is None or (ROOT / file).exists(), f"no {file}"
    if given.get("overrides"):
        load_params(ROOT / file if file else None, given["overrides"])


def check(words: list[str]) -> None:
    """Commands of others are not looked into."""
    while words:  # `a && b`
        end = words.index("&&") if "&&" in words else len(words)
        first, rest = words[0], words[1:end]
        words = words[end + 1 :]
        if first == "emsam":
            check_emsam(rest)
        elif first == "make":
            assert f"\n{rest[0]}:" in (ROOT / "Makefile").read_text()
        elif first in ("python", "pytest") and rest[0].endswith(".py"):
            assert (ROOT / rest[0]).exists()


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_of_a_page_exist(page: Path) -> None:
    for block in blocks(page, "sh"):
        variables: dict[str, str] = {}
        for line in block.commands:
            for name, value in variables.items():
                line = line.replace(f"${name}", value)
            if match := re.fullmatch(r"(\w+)=(\S+|\".*\")", line):
                variables[match[1]] = match[2].strip('"')
                continue
            try:
                check(words_of(line))
            except Exception as error:
                reason = error.format_message() if hasattr(error, "format_message") else error
                raise AssertionError(f"{block.name}: {line}: {reason}") from error


def test_deployments_that_pages_name_exist() -> None:
    declared = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    flows = [each["entrypoint"].rsplit(".", 1)[1].replace("_", "-") for each in declared]
    known = {f"{flow}/{each['name']}" for flow, each in zip(flows, declared, strict=True)}
    for page in pages():
        named = re.findall(rf"[`'=]((?:{'|'.join(flows)})/[a-z]+)", page.read_text())
        assert set(named) <= known, page


def test_pages_have_no_block_without_a_language() -> None:
    """A block of commands that is not called ``sh`` would be looked at by nobody."""
    for page in pages():
        for block in blocks(page, ""):
            if "─" in block.text:
                continue  # a drawing
            first = words_of(block.text.strip().splitlines()[0].replace("'", ""))
            assert first[:1] not in (["emsam"], ["make"], ["prefect"], ["pip"]), block.name
