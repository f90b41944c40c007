"""The command line explains itself."""

from __future__ import annotations

import subprocess
import sys

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


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        ("emsam.cli", "torch zarr mlflow prefect dvc skimage scipy pydantic"),
        ("emsam.launch.jobs", "torch zarr mlflow prefect dvc skimage scipy"),
        ("emsam.registry.history, emsam.registry.gate, emsam.registry.rollback", "torch prefect"),
        ("emsam.train.prepare", "torch._dynamo lightning_fabric mlflow prefect"),
    ],
    ids=["help", "jobs", "registry", "the launcher of a job"],
)
def test_no_command_waits_for_a_library_that_it_does_not_need(modules: str, heavy: str) -> None:
    code = f"import sys, {modules}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & set(heavy.split())
