"""Mutations of the files of a sample, made from a random number generator alone.

Some change bytes anywhere, others know a format well enough to get past its checksums: JSON and
YAML as trees, chunks of a PNG, fields of a TIFF's directory, members of archives, the header of
safetensors.
"""

from __future__ import annotations

import gzip
import io
import random
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from functools import cache

from tests.fuzz import hostile
from tests.fuzz.mutate_bytes import BYTES
from tests.fuzz.mutate_trees import spoil_json, spoil_lines, spoil_yaml


class Link(str):
    """A symbolic link in place of a file: where it leads."""


Files = dict[str, "bytes | Link"]
"""By path below the folder of a case; a path that ends in ``/`` is an empty folder."""

_PNG = b"\x89PNG\r\n\x1a\n"
_LARGEST = 1 << 22
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
        content = rng.choice(BYTES)(content, others, rng)
    return content


def _is_metadata(name: str) -> bool:
    return name.endswith((".json", ".zarray", ".zattrs", ".zgroup", ".yaml", ".jsonl"))


def _known(name: str, content: bytes) -> Callable[..., bytes] | None:
    if name.endswith(".yaml"):
        return spoil_yaml
    if name.endswith(".jsonl"):
        return spoil_lines
    if name.endswith((".json", ".zarray", ".zattrs", ".zgroup")):
        return spoil_json
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
        data = rng.choice(BYTES)(data, others, rng)
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
    header = spoil_json(content[8 : 8 + size], others, rng)
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
