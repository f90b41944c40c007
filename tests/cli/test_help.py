"""The command line explains itself."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from emsam.cli.app import app

runner = CliRunner()


def commands() -> list[list[str]]:
    """The words of every command."""

    def walk(group: object, words: list[str]) -> list[list[str]]:
        found = []
        for name, command in group.commands.items():  # type: ignore[attr-defined]
            inner = hasattr(command, "commands")
            found += walk(command, [*words, name]) if inner else [[*words, name]]
        return found

    return walk(typer.main.get_command(app), [])


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_has_an_example_that_names_it(words: list[str]) -> None:
    text = " ".join(runner.invoke(app, [*words, "--help"]).output.split())
    assert f"Example: emsam {' '.join(words)}" in text
    assert "--json" in text


def test_help_reads_like_a_table_of_contents() -> None:
    text = runner.invoke(app, ["--help"]).output
    headings = ["Data", "Train and judge", "Decide", "Use", "All of it", "Services"]
    places = [text.index(f"─ {heading} ─") for heading in headings]
    assert places == sorted(places)


def test_help_loads_no_heavy_library() -> None:
    import subprocess
    import sys

    code = "import sys, emsam.cli; print([m for m in sys.modules if '.' not in m])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    for heavy in ("torch", "zarr", "mlflow", "prefect", "dvc", "skimage", "scipy", "pydantic"):
        assert f"'{heavy}'" not in loaded
