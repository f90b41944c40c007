"""Write ``reference/``: commands, parameters and settings, from the code that defines them.

And, in ``data.md``, what the catalog says of the published data sets.

::

    python docs/generate_reference.py

``tests/docs/test_reference.py`` compares the pages with the code.
"""

from __future__ import annotations

import ast
import inspect
import json
import os
import types
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args, get_origin
from unittest.mock import patch

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from emsam.cli.app import app
from emsam.data.catalog import CATALOG
from emsam.params import Params
from emsam.settings import Settings

FOLDER = Path(__file__).parent / "reference"
DATA_PAGE = Path(__file__).parent / "data.md"
NOTE = "<!-- Made by docs/generate_reference.py; edit the code, then run it. -->"
WORDS = {bool: "true or false", int: "whole number", float: "number", str: "text"}
SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "min_length": "length ≥"}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text)
        print(FOLDER / name)
    DATA_PAGE.write_text(data_page(DATA_PAGE.read_text()))
    print(DATA_PAGE)


def pages() -> dict[str, str]:
    """File name → Markdown of each page of the reference."""
    return {
        "commands.md": "\n".join(_commands_page()) + "\n",
        "params.md": "\n".join(_params_page()) + "\n",
        "settings.md": "\n".join(_settings_page()) + "\n",
    }


def data_page(text: str) -> str:
    """``text`` with a table of the catalog, and a list of its splits and ids, as they are now."""
    for first, lines in (
        ("| name | data set |", _catalog_table()),
        ("- `snemi3d`:", _catalog_notes()),
    ):
        begin = text.index(first)
        text = text[:begin] + "\n".join(lines) + text[text.index("\n\n", begin) :]
    return text


def _catalog_table() -> Iterator[str]:
    head = ["name", "data set", "tissue", "task", "voxel (z, y, x; nm)", "shape", "licence", "cite"]
    yield _row(head)
    yield _row(["---"] * len(head))
    for entry in CATALOG.values():
        voxel = ", ".join(f"{side:g}" for side in entry.voxel_size)
        yield _row(
            [f"`{entry.name}`", f"[{entry.title}]({entry.page})", entry.tissue, entry.task, voxel,
             entry.shape_text, entry.licence, entry.citation]
        )  # fmt: skip


def _catalog_notes() -> Iterator[str]:
    for entry in CATALOG.values():
        yield f"- `{entry.name}`: {entry.official_split}. Ids: {entry.ids}."


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def commands() -> Iterator[tuple[list[str], Any]]:
    """Words and typer's command of everything that can be typed, in the order of ``--help``."""
    yield from _walk(typer.main.get_command(app), [])


def _walk(command: Any, words: list[str]) -> Iterator[tuple[list[str], Any]]:
    if words and (not hasattr(command, "commands") or command.params):
        yield words, command  # a group with options of its own is a command, too
    if hasattr(command, "commands"):
        context = command.make_context("emsam", [], resilient_parsing=True)
        for name in command.list_commands(context):
            yield from _walk(command.commands[name], [*words, name])


def _commands_page() -> Iterator[str]:
    yield from (
        "# Commands",
        "",
        NOTE,
        "",
        "Each takes `--json` and then prints one JSON document on stdout and nothing else, and "
        "`--help`. Exit status: 0 done, 2 bad input, 1 failed, 75 a training that was stopped and "
        "can go on, 130 Ctrl-C, 143 ended by a worker.",
    )
    for words, command in commands():
        yield from ("", f"## emsam {' '.join(words)}", "")
        yield " ".join(inspect.cleandoc(command.help).split("\f")[0].split())
        example = command.epilog.removeprefix("Example: ")
        yield from ("", "```sh", example, "```", "")
        yield from ("| argument, option | default | what |", "|---|---|---|")
        yield from (_option_row(each) for each in command.params if each.name != "as_json")


def _option_row(option: Any) -> str:
    is_argument = option.param_type_name == "argument"
    names = [option.metavar or option.name.upper()] if is_argument else option.opts
    if getattr(option, "secondary_opts", None):
        names = [*names, *option.secondary_opts]
    words = ", ".join(f"`{name}`" for name in names)
    is_off = option.default is None or option.default is False or option.default == ""
    default = "" if is_off else f"`{option.default}`"
    return f"| {words} | {'needed' if option.required else default} | {_cell(option.help or '')} |"


def _params_page() -> Iterator[str]:
    yield from (
        "# Parameters",
        "",
        NOTE,
        "",
        "What is computed: keys of `params.yaml`, of the files in `params/`, and of "
        "`--set key=value`, whose values are YAML. An unknown key is refused and the nearest one "
        "named. `null` stands for what the text says.",
        "",
    )
    top = [name for name, field in Params.model_fields.items() if not _is_section(field)]
    yield from ("| key | default | may be | what |", "|---|---|---|---|")
    yield from (_param_row(name, Params.model_fields[name]) for name in top)
    for name, field in Params.model_fields.items():
        if name in top:
            continue
        section = type(field.default)
        about = inspect.cleandoc(section.__doc__ or "").split("\n\n")[0]
        yield from ("", f"## {name}", "", " ".join(about.replace("``", "`").split()), "")
        yield from ("| key | default | may be | what |", "|---|---|---|---|")
        yield from _section_rows(name, section)


def _section_rows(prefix: str, section: type[BaseModel]) -> Iterator[str]:
    for name, field in section.model_fields.items():
        if _is_section(field):
            yield from _section_rows(f"{prefix}.{name}", type(field.default))
        else:
            yield _param_row(f"{prefix}.{name}", field)


def _is_section(field: FieldInfo) -> bool:
    """A change of the augmentation has fields too, and is shown as one."""
    return isinstance(field.default, BaseModel) and not hasattr(field.default, "probability")


def _param_row(key: str, field: FieldInfo) -> str:
    default = field.default
    if isinstance(default, BaseModel):
        default = default.model_dump(mode="json")
    shown = json.dumps(default).replace('"', "") if default != "" else ""
    what = _cell(field.description or "")
    return f"| `{key}` | `{shown}` | {_may_be(field.annotation, field.metadata)} | {what} |"


def _may_be(annotation: Any, metadata: list[Any]) -> str:
    """The values that a field takes, in words."""
    limits = [
        f"{sign} {getattr(each, name)}"
        for each in metadata
        for name, sign in SIGNS.items()
        if getattr(each, name, None) is not None
    ]
    if get_origin(annotation) is types.UnionType:
        inner = [each for each in get_args(annotation) if each is not type(None)]
        words = " or ".join([_may_be(each, []) for each in inner] + ["null"])
    elif get_origin(annotation) is Literal:
        words = ", ".join(f"`{each}`" for each in get_args(annotation))
    elif get_origin(annotation) is tuple:
        words = "list"
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        words = "number or mapping"
    else:
        words = WORDS[annotation]
    return ", ".join([words, *limits])


def _settings_page() -> Iterator[str]:
    yield from (
        "# Settings",
        "",
        NOTE,
        "",
        "Where things live and who may do what: environment variables. Relative paths start at "
        "the current folder. They are no parameters: a run does not change its name with them. "
        "Prefect's server is found by `PREFECT_API_URL`, S3 by boto3's own variables "
        "(`AWS_PROFILE`, `AWS_ENDPOINT_URL` …).",
        "",
        "| variable | default | what |",
        "|---|---|---|",
    )
    said = _docstrings(Settings)
    with patch.dict(os.environ, {"XDG_CACHE_HOME": ""}):
        defaults = {
            name: field.get_default(call_default_factory=True)
            for name, field in Settings.model_fields.items()
        }
    for name, default in defaults.items():
        shown = str(default).replace(str(Path.home()), "~") if default is not None else ""
        shown = {"False": "false", "True": "true"}.get(shown, shown)
        yield f"| `EMSAM_{name.upper()}` | {f'`{shown}`' if shown else ''} | {_cell(said[name])} |"


def _docstrings(cls: type) -> dict[str, str]:
    """The text below each field of a class."""
    body = ast.parse(inspect.getsource(cls)).body[0].body  # type: ignore[attr-defined]
    return {
        field.target.id: text.value.value
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr)
    }


def _cell(text: str) -> str:
    return " ".join(text.replace("``", "`").replace("|", "\\|").split())


if __name__ == "__main__":
    main()
