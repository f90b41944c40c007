"""What chunked formats share: JSON metadata, numbers in it, missing chunks."""

from __future__ import annotations

import itertools
import json
import math
import operator
import re
import stat
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from emsam.errors import DamagedInput, InputError

_LARGEST_JSON = 64 << 20
_LISTED = 8
_DEPTH = 8
Key = Callable[[tuple[int, ...]], str]
"""Name of a file of an array by its place in the grid."""


def read_json(path: Path, name: str) -> dict[str, Any]:
    """A JSON object from a file; empty if there is no such file.

    Raises
    ------
    InputError
        A file that is too large for metadata or is no JSON object, or a device in its place.
    """
    if not path.is_file():
        if path.exists():
            raise InputError(f"{name}: {path.name} is no file; it is damaged, copy it again")
        return {}
    try:
        if path.stat().st_size > _LARGEST_JSON:
            raise ValueError(f"{path.stat().st_size} bytes")
        document = json.loads(path.read_bytes())
        if not isinstance(document, dict):
            raise ValueError("no JSON object")
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{name}: {path.name} is no metadata ({' '.join(str(error).split())[:80]}); "
            "it is truncated or damaged, copy it again"
        ) from None
    return document


def whole_numbers(values: Any, what: str, name: str) -> tuple[int, ...]:
    """Sides as metadata have them.

    Raises
    ------
    InputError
        Something else than a list of whole numbers from 0 upwards.
    """
    if isinstance(values, list) and all(type(each) is int and each >= 0 for each in values):
        return tuple(values)
    raise InputError(
        f"{name}: its {what} is {str(values)[:60]!r}, not whole numbers; it is damaged"
    )


def missing_chunks(
    folder: Path, shape: Sequence[int], chunk: Sequence[int], fill: Any, key: Key, name: str
) -> tuple[str, ...]:
    """A warning if chunks are not stored: they are read as the fill value, wanted or lost.

    Raises
    ------
    InputError
        There are files, but none of them is a chunk.
    """
    grid = chunk_grid(shape, chunk)
    have, other = 0, ""
    for path in chunk_files(folder):
        file = path.relative_to(folder).as_posix()
        place = tuple(int(digits) for digits in re.findall(r"\d+", file))[-len(grid) :]
        in_grid = len(place) == len(grid) and all(map(operator.lt, place, grid))
        if in_grid and key(place) == file:
            have += 1
        else:
            other = other or file
    if not have and other:
        raise InputError(
            f"{name}: no file is a chunk that its metadata mean, such as {key((0,) * len(grid))}; "
            f"there is {other}. Where only the separator differs, say it in the metadata "
            "('dimension_separator' of .zarray)"
        )
    return not_stored(have, grid, fill)


def chunk_grid(shape: Sequence[int], chunk: Sequence[int]) -> list[int]:
    """Chunks along each axis."""
    return [math.ceil(whole / side) for whole, side in zip(shape, chunk, strict=True)]


def not_stored(have: int, grid: Sequence[int], fill: Any) -> tuple[str, ...]:
    """A warning of chunks that are read as a fill value; none if all are there."""
    wanted = math.prod(grid)
    if have == wanted:
        return ()
    return (f"{wanted - have} of {wanted} chunks are not stored and read as {fill}",)


def refuse_truncated_blosc(folder: Path, name: str) -> None:
    """Compare the size of each chunk with what it says: Blosc itself does not look.

    Raises
    ------
    InputError
        A chunk that is shorter or longer.
    """
    for path in chunk_files(folder):
        refuse_truncated_chunk(path, folder, name)


def refuse_truncated_chunk(path: Path, folder: Path, name: str) -> None:
    """As :func:`refuse_truncated_blosc`, of one file of the array in ``folder``."""
    with path.open("rb") as stream:
        start = stream.read(16)
    size = path.stat().st_size
    if len(start) < 16 or struct.unpack_from("<I", start, 12)[0] != size:
        raise DamagedInput(
            f"{name}: chunk {path.relative_to(folder).as_posix()} has {size} bytes, its header "
            "says another number; it is truncated or damaged, copy it again"
        )


def chunk_files(folder: Path) -> Iterator[Path]:
    """Files of an array but its metadata, and hidden ones."""
    for path in folder.rglob("*"):
        named = path.name not in ("zarr.json", "attributes.json") and path.name[0] != "."
        if named and path.is_file():
            yield path


def refuse_links(folder: Path, name: str) -> None:
    """A stranger's links would bring files of this machine into a volume.

    Raises
    ------
    InputError
        A link in the folder that leads out of it, or an entry that is no file and no folder.
    """
    for path in folder.rglob("*"):
        _refuse_link(path, folder, name)


def refuse_links_to(files: Sequence[Path], folder: Path, name: str) -> None:
    """As :func:`refuse_links`, of some files and the folders on the way to them."""
    ways = {path for file in files for path in file.parents if folder in path.parents}
    for path in (*ways, *files):
        _refuse_link(path, folder, name)


def _refuse_link(path: Path, folder: Path, name: str) -> None:
    """Of one entry; one that is not there is no link."""
    try:
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode) and not path.resolve(strict=True).is_relative_to(folder.resolve()):
            raise InputError(
                f"{name}: {path.relative_to(folder)} is a link that leads out of it; copy what it "
                "means with 'cp -rL'"
            )
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    except (OSError, RuntimeError):  # a link in circles, a file in place of a folder
        mode = stat.S_IFSOCK
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise InputError(
            f"{name}: {path.relative_to(folder)} is no file and no folder; copy the image again"
        )


def touched_files(
    folder: Path,
    stored: Sequence[int],
    index: Sequence[int | slice],
    shape: Sequence[int],
    key: Key,
) -> Iterator[Path]:
    """Files, whether or not they are there, that hold a part of an array.

    Parameters
    ----------
    stored
        Sides of what is a file: of a shard, or of a chunk.
    index
        A place or a range along each axis.
    key
        Name of a file by its place in the grid.
    """
    spans = []
    for part, side, whole in zip(index, stored, shape, strict=True):
        first, end, _ = slice(part, part + 1).indices(whole) if isinstance(part, int) else (
            part.indices(whole))  # fmt: skip
        spans.append(range(first // side, max(first, end - 1) // side + 1))
    for place in itertools.product(*spans):
        yield folder / key(place)


def arrays_below(
    folder: Path, is_array: Callable[[Path], bool], depth: int = _DEPTH
) -> Iterator[Path]:
    """Arrays below ``folder``, in order of name; hidden folders and links are left out."""
    for child in sorted(folder.iterdir()):
        if child.is_symlink() or not child.is_dir() or child.name.startswith("."):
            continue
        if is_array(child):
            yield child
        elif depth > 1:
            yield from arrays_below(child, is_array, depth - 1)


def only_array(folder: Path, found: Sequence[Path], name: str) -> Path:
    """The only one of ``found``.

    Raises
    ------
    InputError
        None or several, which are listed.
    """
    if len(found) == 1:
        return found[0]
    names = [path.relative_to(folder).as_posix() for path in found[: _LISTED + 1]]
    if not names:
        raise InputError(f"{name}: holds no array; copy it again, or name another path")
    more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    raise InputError(
        f"{name}: holds several arrays, name one as {name}/PATH: {', '.join(names[:_LISTED])}{more}"
    )


def inside(folder: Path, path: Any, name: str) -> Path:
    """The folder that metadata name by a relative ``path``.

    Raises
    ------
    InputError
        No text, or a path that leads out of ``folder``.
    """
    if isinstance(path, str) and path:
        target = folder / path
        if target.resolve().is_relative_to(folder.resolve()):
            return target
    raise InputError(f"{name}: its metadata name the path {str(path)[:60]!r}; it is damaged")
