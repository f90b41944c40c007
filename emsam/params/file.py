"""Parameters as text: ``params.yaml``, ``key=value`` overrides, and what is wrong with them."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from emsam.errors import InputError
from emsam.params.params import Params

_LARGEST_FILE = 1 << 20
_MOST_VALUES = 20_000


def load_params(file: Path | None = None, overrides: Sequence[str] = ()) -> Params:
    """Read ``params.yaml`` and apply ``key=value`` overrides.

    Whoever names ``train.minutes`` and no ``train.steps`` has a budget in minutes alone.

    Parameters
    ----------
    file
        A YAML file with the fields of :class:`Params`; ``None`` takes the defaults.
    overrides
        Items such as ``"train.steps=200"``; values are YAML.

    Raises
    ------
    InputError
        A file that is missing or no YAML mapping, an unknown key (the nearest known one is
        named) or a value that does not fit.
    """
    tree: dict[str, Any] = {}
    origin = "params"
    if file is not None:
        origin = str(file)
        tree = _read_yaml(file)
    _let_minutes_alone_decide(tree)
    return _override(tree, overrides, origin)


def override_params(params: Params, overrides: Sequence[str]) -> Params:
    """``params`` with ``key=value`` overrides; see :func:`load_params`."""
    return _override(params.model_dump(mode="json"), overrides, "params")


def dump_params(params: Params) -> str:
    """``params`` as the YAML text that :func:`load_params` reads back."""
    return yaml.safe_dump(params.model_dump(mode="json"), sort_keys=False, default_flow_style=None)


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mapping → ``{"train.steps": 400, …}``."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _override(tree: dict[str, Any], overrides: Sequence[str], origin: str) -> Params:
    for item in overrides:
        _apply_override(tree, item)
    keys = {item.partition("=")[0].strip() for item in overrides}
    if "train.minutes" in keys and "train.steps" not in keys:
        tree["train"]["steps"] = None
    try:
        return Params.model_validate(tree)
    except ValidationError as error:
        raise InputError(f"{origin}: {_explain(error)}") from None


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            text = stream.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); name a YAML file") from None
    if len(text) > _LARGEST_FILE:
        raise InputError(f"{file}: more than {_LARGEST_FILE >> 10} kB; name a file of parameters")
    try:
        tree = _parse(text)
    except ValueError as error:
        raise InputError(f"{file}: not valid YAML ({error}); correct it") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise InputError(
            f"{file}: holds a {type(tree).__name__}; a mapping such as 'train:' is needed"
        )
    return tree


def _parse(text: str | bytes) -> Any:
    """YAML of plain values: no tag of it runs anything, and what it says is no larger than it.

    Raises
    ------
    ValueError
        Anything else, in one line.
    """
    try:
        tree = yaml.safe_load(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except Exception as error:  # besides its own, yaml raises what int, date and others do
        raise ValueError(" ".join(str(error).split())[:300] or type(error).__name__) from None
    _refuse_large(tree)
    return tree


def _refuse_large(tree: Any) -> None:
    """Aliases let a short text mean a tree that fills the memory, or one that contains itself."""
    count, todo = 0, [tree]
    while todo:
        each = todo.pop()
        count += 1
        if count > _MOST_VALUES:
            raise ValueError(f"more than {_MOST_VALUES:,} values")
        if isinstance(each, int) and each.bit_length() > 63:
            raise ValueError("a number of more than 63 bits")
        if isinstance(each, dict):
            if not all(isinstance(key, str) for key in each):
                raise ValueError("a key that is no text")
            todo.extend(each.values())
        elif isinstance(each, list | tuple | set):
            todo.extend(each)


def _let_minutes_alone_decide(tree: dict[str, Any]) -> None:
    """A budget in minutes is not cut short by the default number of steps."""
    train = tree.get("train")
    if isinstance(train, dict) and train.get("minutes") is not None:
        train.setdefault("steps", None)


def _apply_override(tree: dict[str, Any], item: str) -> None:
    key, equals, text = item.partition("=")
    if not equals or not key.strip():
        raise InputError(f"--set {item}: write it as key=value, such as train.steps=200")
    try:
        value = _parse(text)
    except ValueError:
        raise InputError(f"--set {item}: {text!r} is not a YAML value") from None
    *parents, leaf = key.strip().split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
        if not isinstance(tree, dict):
            raise InputError(f"--set {item}: {parent} is a value, not a section")
    tree[leaf] = value


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    where = ".".join(path)
    if first["type"] == "extra_forbidden":
        return f"unknown key {where}; {_nearest(path)}"
    if first["type"] == "literal_error":
        return f"{where} = {first['input']!r}: must be {first['ctx']['expected']}"
    message = first["msg"].removeprefix("Value error, ")
    if isinstance(first["input"], dict):
        return f"{where}: {message}" if where else message
    return f"{where} = {first['input']!r}: {message}" if where else message


def _nearest(path: list[str]) -> str:
    """The remedy for a key that does not exist: the nearest of all known keys."""
    known = list(flatten(Params().model_dump()))
    sections = sorted({key[:dot] for key in known for dot in _dots(key)})
    siblings = [
        key.rsplit(".", 1)[-1] for key in known + sections if key.split(".")[:-1] == path[:-1]
    ]
    elsewhere = [key for key in known if key.rsplit(".", 1)[-1] == path[-1]]
    if elsewhere:
        return f"did you mean {elsewhere[0]}?"
    near = difflib.get_close_matches(path[-1], siblings, n=1, cutoff=0.5)
    if near:
        return f"did you mean {'.'.join([*path[:-1], near[0]])}?"
    return f"known here: {', '.join(siblings)}" if siblings else f"known: {', '.join(sections)}"


def _dots(key: str) -> list[int]:
    return [place for place, letter in enumerate(key) if letter == "."]
