"""Mutations of the files of a sample, made from a random number generator alone.

Some change bytes anywhere, others know a format well enough to get past its checksums: JSON and
YAML as trees, chunks of a PNG, fields of a TIFF's directory, members of archives, the header of
safetensors.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

from tests.fuzz import hostile


class Link(str):
    """A symbolic link in place of a file: where it leads."""


Files = dict[str, "bytes | Link"]
"""By path below the folder of a case; a path that ends in ``/`` is an empty folder."""

_PNG = b"\x89PNG\r\n\x1a\n"
_LARGEST = 1 << 22
_MOST_PLACES = 100_000
_LINKS = ("../outside/secret", "../../outside/secret", "/etc/passwd", "/dev/zero", "/dev/full", ".",
          "loop", "nowhere", "/", "..")  # fmt: skip


def mutate(files: Files, others: list[bytes], rng: random.Random) -> Files:
    """A copy of ``files`` that is spoilt in one to three places."""
    spoilt = dict(files)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        names = sorted(spoilt)
        if not names:
            break
        small = [name for name in names if _is_metadata(name)]
        name = rng.choice(small if small and rng.random() < 0.6 else names)
        content = spoilt[name]
        if isinstance(content, Link) or (len(files) > 1 and rng.random() < 0.1):
            _mutate_folder(spoilt, name, rng)
        else:
            spoilt[name] = mutate_content(name, content, others, rng)[:_LARGEST]
    return spoilt


def mutate_content(name: str, content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """Spoilt bytes of a file that is called ``name``."""
    known = _known(name, content)
    if known and rng.random() < 0.7:
        try:
            return known(content, others, rng)
        except Exception:  # what was spoilt before may not be parsed any more
            pass
    for _ in range(rng.choice((1, 1, 2, 4))):
        content = rng.choice(_BYTES)(content, others, rng)
    return content


def _is_metadata(name: str) -> bool:
    return name.endswith((".json", ".zarray", ".zattrs", ".zgroup", ".yaml", ".jsonl"))


def _known(name: str, content: bytes) -> Callable[..., bytes] | None:
    if name.endswith(".yaml"):
        return _yaml
    if name.endswith(".jsonl"):
        return _lines
    if name.endswith((".json", ".zarray", ".zattrs", ".zgroup")):
        return _json
    if name.endswith(".safetensors"):
        return _safetensors
    if content.startswith(_PNG):
        return _png
    if content[:4] in (b"II*\0", b"II+\0"):
        return _tiff
    if content.startswith(b"PK"):
        return _zip
    if content.startswith(b"\x1f\x8b"):
        return _gzip
    if content[257:262] == b"ustar":
        return _tar
    return None


# -- folders -----------------------------------------------------------------------------------


def _mutate_folder(files: Files, name: str, rng: random.Random) -> None:
    content = files.pop(name)
    what = rng.randrange(7)
    if what == 0:
        return  # lost
    if what == 1:
        files[_beside(name, rng)] = content
    elif what == 2:
        files[name] = Link(rng.choice(_LINKS))
    elif what == 3:
        files[name + "/"] = b""
    elif what == 4 and files:
        other = rng.choice(sorted(files))
        files[name], files[other] = files[other], content
    elif what == 5:
        files[name] = b""
    else:
        files[name] = content
        files[_beside(name, rng)] = rng.choice((b"", b"{}", content, Link(rng.choice(_LINKS))))


def _beside(name: str, rng: random.Random) -> str:
    parts = name.strip("/").split("/")
    at = rng.randrange(len(parts))
    parts[at] = rng.choice(
        ("0", "1", "99", "-1", "x", ".hidden", "z 1", "c", "s0", "image", "zarr.json", ".zarray",
         ".zgroup", "attributes.json", "step-000009", "step-x", "1" * 200, "ä", parts[at] + ".bak")
    )  # fmt: skip
    return "/".join(parts)


# -- bytes -------------------------------------------------------------------------------------


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


_BYTES = (_flip, _flip, _noise, _integer, _integer, _integer, _cut, _drop, _repeat, _blank, _splice)


# -- trees -------------------------------------------------------------------------------------


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


def _json(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    if rng.random() < 0.08:
        return rng.choice(_TEXTS)
    return _dump(_spoil_tree(json.loads(content), rng))


def _lines(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    lines = content.split(b"\n")
    at = rng.randrange(len(lines))
    lines[at] = _json(lines[at] or b"{}", others, rng)
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


def _yaml(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    if rng.random() < 0.2:
        text = rng.choice(_YAMLS)
        return text if rng.random() < 0.5 else content + b"\n" + text
    import yaml

    return _dump(_spoil_tree(yaml.safe_load(content), rng))


# -- formats -----------------------------------------------------------------------------------


def _png(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    chunks, at = [], 8
    while at + 12 <= len(content):
        (size,) = struct.unpack_from(">I", content, at)
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + size]))
        at += 12 + size
    which = rng.randrange(len(chunks))
    kind, data = chunks[which]
    what = rng.randrange(6)
    if what == 0 and kind == b"IDAT":
        data = _bomb()
    elif what == 1:
        kind = rng.choice((b"IDAT", b"PLTE", b"tRNS", b"iCCP", b"zTXt", b"acTL", b"fdAT", b"IEND"))
    elif what == 2:
        chunks[which:which] = [(kind, data)] * rng.choice((1, 3, 200))
    elif what == 3:
        chunks.pop(rng.randrange(len(chunks)))
        which = min(which, len(chunks) - 1)
    elif kind == b"IHDR":
        field = rng.choice((0, 4))
        data = data[:field] + struct.pack(">I", hostile.number(rng) % (1 << 32)) + data[field + 4 :]
    else:
        data = rng.choice(_BYTES)(data, others, rng)
    chunks[which] = (kind, data)
    parts = [_PNG]
    for kind, data in chunks:
        parts += [
            struct.pack(">I", len(data)),
            kind,
            data,
            struct.pack(">I", zlib.crc32(kind + data)),
        ]
    return b"".join(parts)


def _tiff(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """One field of an entry of a directory: tag, type, count or value."""
    big = content[2:3] == b"+"
    (at,) = struct.unpack_from("<Q" if big else "<I", content, 8 if big else 4)
    for _ in range(rng.randrange(3)):  # further pages
        (count,) = struct.unpack_from("<Q" if big else "<H", content, at)
        end = at + (8 + 20 * count if big else 2 + 12 * count)
        (following,) = struct.unpack_from("<Q" if big else "<I", content, end)
        at = following or at
    (count,) = struct.unpack_from("<Q" if big else "<H", content, at)
    entry = at + (8 + 20 * rng.randrange(count) if big else 2 + 12 * rng.randrange(count))
    fields = ((0, "<H"), (2, "<H"), (4, "<Q"), (12, "<Q"), (12, "<H")) if big else (
        (0, "<H"), (2, "<H"), (4, "<I"), (8, "<I"), (8, "<H"))  # fmt: skip
    offset, kind = rng.choice(fields)
    value = rng.choice(
        (hostile.number(rng), rng.randrange(256, 350), rng.randrange(16), len(content) - 1)
    )
    changed = bytearray(content)
    struct.pack_into(kind, changed, entry + offset, value % (1 << 8 * struct.calcsize(kind)))
    return bytes(changed)


def _safetensors(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    (size,) = struct.unpack_from("<Q", content)
    header = _json(content[8 : 8 + size], others, rng)
    said = hostile.number(rng) % (1 << 64) if rng.random() < 0.1 else len(header)
    return struct.pack("<Q", said) + header + content[8 + size :]


def _gzip(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    inner = gzip.decompress(content)
    name = "x.tar" if inner[257:262] == b"ustar" else "x"
    return gzip.compress(mutate_content(name, inner, others, rng), 1, mtime=0)


def _zip(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        members = [(each, file.read(each)) for each in file.infolist()]
    which = rng.randrange(len(members))
    info, data = members[which]
    what = rng.randrange(6)
    if what == 0:
        info.filename = rng.choice(hostile.NAMES).replace("\0", "") or "x"
        info.filename += rng.choice(("", ".tif", "/x.tif"))
    elif what == 1:
        info.external_attr = rng.choice((0o120777, 0o060777, 0o010777, 0o4777)) << 16
    elif what == 2:
        data, info.compress_type = bytes(1 << 24), zipfile.ZIP_DEFLATED
    elif what == 3 and len(data) < 1 << 12:
        members += [members[which]] * rng.choice((1, 3, 500))
    else:
        data = mutate_content(info.filename, data, others, rng)
    members[which] = (info, data)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for info, data in members:
            file.writestr(info, data)
    packed = stream.getvalue()
    if rng.random() < 0.15:  # sizes that are not true
        packed = packed.replace(
            struct.pack("<I", len(data)), struct.pack("<I", rng.choice((1, 1 << 30)))
        )
    return packed


_TAR_TYPES = (
    tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.BLKTYPE,
    tarfile.DIRTYPE, tarfile.GNUTYPE_SPARSE, b"Z",
)  # fmt: skip
_PAX = ("size", "path", "linkpath", "GNU.sparse.map", "GNU.sparse.major")


def _tar(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(content)) as file:
        members = [(each, file.extractfile(each)) for each in file]
        opened = [(each, stream.read() if stream else b"") for each, stream in members]
    which = rng.randrange(len(opened))
    info, data = opened[which]
    what = rng.randrange(5)
    if what == 0:
        info.name = rng.choice(hostile.NAMES).replace("\ud800", "") + rng.choice(
            ("", ".tif", "/x.tif")
        )
    elif what == 1:
        info.type = rng.choice(_TAR_TYPES)
        info.linkname = rng.choice(("../outside/secret", "/etc/passwd", "a.tif"))
    elif what == 2:
        said = rng.choice((str(hostile.number(rng)), "../outside/x.tif", "1,2,3"))
        info.pax_headers = {rng.choice(_PAX): said}
    elif what == 3:
        opened += [opened[which]] * rng.choice((1, 3, 300))
    else:
        data = mutate_content(info.name, data, others, rng)
    info.size = len(data)
    opened[which] = (info, data)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as file:
        for info, data in opened:
            file.addfile(info, io.BytesIO(data))
    return stream.getvalue()


@cache
def _bomb() -> bytes:
    """20 MB of zeros in 20 kB."""
    return zlib.compress(bytes(20 << 20), 9)


def safe_name(text: str) -> str:
    """A name of a reader as a part of a path."""
    return re.sub(r"\W+", "-", text)
