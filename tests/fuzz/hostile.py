"""Values that files say and that readers must not believe."""

from __future__ import annotations

import random
from typing import Any

NUMBERS = (
    0, 1, 2, 3, 7, 8, 16, 127, 128, 255, 256, 1000, 32767, 32768, 65535, 65536, 1 << 20,
    (1 << 24) - 1, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 40, (1 << 63) - 1, 1 << 63,
    (1 << 64) - 1, -1, -2, -128, -32768, -(1 << 31), -(1 << 63),
)  # fmt: skip

NAMES = (
    "../outside/secret", "../../outside/secret", "/etc/passwd", "/etc/hostname", "..", ".", "", "/",
    "a/../../outside/secret", "..\\..\\outside", "C:\\Windows\\win.ini", "c:x", "a\0b", "\0",
    "a" * 300, "/proc/self/environ", "/dev/zero", "~/.ssh/id_rsa", "$HOME", "%s%n%x",
    "{0.__class__}", "ä\ud800",
    "\n\n", "\x1b[2J", "-rf", "con", "s3://bucket/key", "http://127.0.0.1:1/", "file:///etc/passwd",
    "|O", "object", "pickle", "numcodecs.pickle", "vlen-utf8", "json2", "categorize", "msgpack2",
    "__import__('os').system('touch outside/ran')", "nan", "inf", "1e999", "null", "champion",
)  # fmt: skip


def number(rng: random.Random) -> int:
    """A number at which something overflows, or nearly."""
    return rng.choice(NUMBERS) + rng.choice((0, 0, 0, 1, -1))


def node(rng: random.Random) -> Any:
    """A value of JSON or YAML in place of another."""
    return rng.choice(
        (
            number(rng), number(rng), number(rng), rng.choice(NAMES), rng.choice(NAMES), None,
            True, [], {}, 0.5, -1.5, 1e308, float("nan"), float("inf"), 10**400, ["x"] * 40,
            [number(rng)] * 3,
            [[[[number(rng)]]]], {"a": {"b": number(rng)}}, {"name": rng.choice(NAMES)},
            {"id": rng.choice(NAMES)}, "x" * 5000, nested(60), {rng.choice(NAMES): number(rng)},
        )
    )  # fmt: skip


def nested(depth: int) -> Any:
    """Lists in lists."""
    tree: Any = 1
    for _ in range(depth):
        tree = [tree]
    return tree
