"""Mutations of bytes that know nothing of what they are."""

from __future__ import annotations

import random

from tests.fuzz import hostile


def _place(content: bytes, rng: random.Random) -> int:
    """Headers are at the beginning, directories at the end."""
    size = len(content)
    most = (min(size, 64), min(size, 512), size)[rng.randrange(3)]
    at = rng.randrange(most) if most else 0
    return max(0, size - 1 - at) if rng.random() < 0.2 else at


def _flip(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8))):
        if changed:
            changed[_place(content, rng)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _noise(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    at, size = _place(content, rng), rng.choice((1, 4, 16, 64))
    return content[:at] + rng.randbytes(size) + content[at + size :]


def _integer(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    size = rng.choice((1, 2, 4, 4, 4, 8))
    at = _place(content, rng) // size * size
    value = hostile.number(rng) % (1 << 8 * size)
    packed = value.to_bytes(size, rng.choice(("little", "little", "big")))
    return content[:at] + packed + content[at + size :]


def _cut(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    return content[: _place(content, rng)]


def _drop(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    at = _place(content, rng)
    return content[:at] + content[at + rng.choice((1, 2, 4, 100)) :]


def _repeat(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    at, size = _place(content, rng), rng.choice((1, 4, 12, 200))
    return content[:at] + content[at : at + size] * rng.choice((2, 3, 50)) + content[at + size :]


def _blank(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    at, size = _place(content, rng), rng.choice((1, 4, 16, 300))
    return content[:at] + rng.choice((b"\0", b"\xff", b"A")) * size + content[at + size :]


def _splice(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    other = rng.choice(others)
    return (
        content[: _place(content, rng)]
        + other[_place(other, rng) :][: rng.choice((16, 999, 99999))]
    )


BYTES = (_flip, _flip, _noise, _integer, _integer, _integer, _cut, _drop, _repeat, _blank, _splice)
