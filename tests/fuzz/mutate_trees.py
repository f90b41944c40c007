"""Mutations of JSON and YAML: of their trees, and texts that are neither."""

from __future__ import annotations

import json
import random
from typing import Any

import yaml

from tests.fuzz import hostile

_MOST_PLACES = 100_000


def _spoil_tree(tree: Any, rng: random.Random) -> Any:
    """The tree with one to three nodes changed, in place where that is possible."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        places = list(_places(tree))
        if not places:
            return hostile.node(rng)
        parent, key = rng.choice(places)
        what = rng.randrange(8)
        if what == 0:
            del parent[key]
        elif what == 1 and isinstance(parent, dict):
            parent[rng.choice(hostile.NAMES)] = parent.pop(key)
        elif what == 2 and isinstance(parent, dict):
            parent[rng.choice(hostile.NAMES)] = hostile.node(rng)
        elif what == 3 and isinstance(parent, list):
            parent[key:key] = [parent[key]] * rng.choice((1, 2, 40))
        elif what == 4:
            other, name = rng.choice(places)
            parent[key] = json.loads(json.dumps(other[name]))
        else:
            parent[key] = hostile.node(rng)
    return tree


def _places(tree: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    todo = [tree]
    while todo:
        each = todo.pop()
        if len(found) > _MOST_PLACES:
            raise ValueError("a tree that nobody can walk through")
        keys = (
            list(each)
            if isinstance(each, dict)
            else range(len(each))
            if isinstance(each, list)
            else ()
        )
        for key in keys:
            found.append((each, key))
            todo.append(each[key])
    return found


def _dump(tree: Any) -> bytes:
    return json.dumps(tree).encode()


_TEXTS = (
    b"[" * 100_000, b'{"a":' * 50_000, b'{"shape": 1' + b"0" * 20_000 + b"}", b"\xff\xfe{\0}\0",
    b"{}", b"[]", b"null", b"NaN", b'"x"', b"", b"\xef\xbb\xbf{}", b'{"a": 1e999999999}',
    b"\x80\x04N.", b"-" * 5000, b" " * 100_000,
)  # fmt: skip


def spoil_json(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    if rng.random() < 0.08:
        return rng.choice(_TEXTS)
    return _dump(_spoil_tree(json.loads(content), rng))


def spoil_lines(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    lines = content.split(b"\n")
    at = rng.randrange(len(lines))
    lines[at] = spoil_json(lines[at] or b"{}", others, rng)
    return b"\n".join(lines)


_LAUGHS = b"a: &a [x, x, x, x, x, x, x, x, x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (98 + i, 98 + i, b", ".join([b"*%c" % (97 + i)] * 9)) for i in range(9)
)
"""Ten lines that mean 9 ** 10 values."""
_YAMLS = (
    _LAUGHS, _LAUGHS + b"train: *j\n", b"!!python/object/apply:os.system ['touch outside/ran']\n",
    b"train: !!python/object/new:subprocess.Popen [['touch', 'outside/ran']]\n",
    b"train: !!python/name:os.system\n", b"? " * 20_000, b"[" * 50_000, b"- " * 5000,
    b"train: &t\n  steps: *t\n", b"a: *missing\n", b"train:\n  <<: [*x]\n", b"%YAML 9.9\n---\n",
    b"--- a\n--- b\n", b"train: {steps: 1" + b"0" * 10_000 + b"}", b"train: !!binary aaaa\n",
    b"2001-99-99: 1\n", b"train: {steps: 2001-99-99}\n", b"\0", b"\xff\xff", b"!!set {a, b}",
    b"train: !!timestamp x", b"? [a]\n: 1\n", b"1: 2\n", b"? {a: b}\n: c\n", b"train: !!int x",
    b"train: {steps: 1_0_0:59:59.9}", b"train: !!float x", b"? !!python/tuple [1]\n: 1",
)  # fmt: skip


def spoil_yaml(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    if rng.random() < 0.2:
        text = rng.choice(_YAMLS)
        return text if rng.random() < 0.5 else content + b"\n" + text
    return _dump(_spoil_tree(yaml.safe_load(content), rng))
