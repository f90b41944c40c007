"""The files that a data set is made from, wherever they lie: found by the ends of their paths."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from emsam.data.catalog.archives import is_archive, is_wanted
from emsam.data.catalog.entry import Entry, Part, Recipe
from emsam.data.readers.folder import SLICE_SUFFIXES
from emsam.errors import InputError


class Pool:
    """Files by their path below the folder or the archive that they came in."""

    def __init__(self, entry: Entry, files: dict[PurePosixPath, Path]) -> None:
        self._entry, self._files = entry, files

    def find(self, pattern: str) -> list[Path]:
        """Files whose path ends as ``pattern`` says, in order of their names.

        Raises
        ------
        InputError
            None, or several where the pattern is of one file.
        """
        found = [path for name, path in sorted(self._files.items()) if is_wanted(name, [pattern])]
        if not found:
            raise InputError(
                f"{self._entry.name}: no file {pattern} in what was given; {self._entry.how}"
            )
        slices = pattern.lower().endswith(SLICE_SUFFIXES) and re.search(r"[*[]", pattern)
        if len(found) > 1 and not slices:
            raise InputError(
                f"{self._entry.name}: {found[0]} and {found[1]} are both {pattern}; give one"
            )
        return found

    def recipes(self) -> list[Recipe]:
        """The recipes of the entry; one with ``*`` becomes a recipe for each file that it finds.

        Raises
        ------
        InputError
            Not a single file is found.
        """
        return [each for recipe in self._entry.recipes for each in self._expanded(recipe)]

    def _expanded(self, recipe: Recipe) -> Iterator[Recipe]:
        if recipe.suffix != "*":
            yield recipe
            return
        (part,) = recipe.parts
        names = {path.name for path in self._files}
        stars = sorted(star for name in names if (star := _star(part.image, name)))
        pairs = [
            (star, Part(part.image.replace("*", star), part.labels.replace("*", star)))
            for star in stars
        ]
        pairs = [(star, each) for star, each in pairs if each.labels in names]
        if not pairs:
            raise InputError(
                f"{self._entry.name}: no pair of {part.image} and {part.labels} in what was "
                f"given; {self._entry.how}"
            )
        for star, each in pairs:
            yield replace(recipe, parts=(each,), suffix=star)


def _star(pattern: str, name: str) -> str:
    """What ``*`` stands for in a name; empty if it does not match or cannot name a volume."""
    before, after = map(re.escape, pattern.split("*"))
    match = re.fullmatch(f"{before}([A-Za-z0-9_-]+){after}", name)
    return match[1] if match else ""


def patterns_of(entry: Entry) -> list[str]:
    """All patterns of an entry."""
    parts = [part for recipe in entry.recipes for part in recipe.parts]
    return sorted({pattern for part in parts for pattern in (part.image, part.labels)})


def list_files(given: Sequence[Path]) -> dict[PurePosixPath, Path]:
    """Every file in ``given``, files and folders, by its path below the given one's parent.

    Raises
    ------
    InputError
        A path where nothing is.
    """
    files = {}
    for path in given:
        if not path.exists():
            raise InputError(f"--from {path}: no such file or folder; check the path")
        absolute = path.absolute()
        inside = sorted(absolute.rglob("*")) if path.is_dir() else [absolute]
        for each in inside:
            if each.is_file():
                files[PurePosixPath(each.relative_to(absolute.parent).as_posix())] = each
    return files


def split_archives(
    files: dict[PurePosixPath, Path],
) -> tuple[dict[PurePosixPath, Path], list[Path]]:
    """Plain files, and archives."""
    plain = {name: path for name, path in files.items() if not is_archive(path)}
    return plain, [path for path in files.values() if is_archive(path)]
