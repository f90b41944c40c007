"""What the catalog says of a published data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from emsam.data.readers import Stack, VoxelSize
from emsam.params import Task

NOT_VERIFIED = "not verified"
"""What stands where no source could be found for a fact."""


@dataclass(frozen=True)
class Download:
    """A file that the source hands out without registration.

    Attributes
    ----------
    checksum
        ``sha256:…`` or ``md5:…`` where somebody published one; else it is recorded when the file
        is fetched for the first time.
    checksum_from
        Who published it.
    """

    url: str
    name: str
    checksum: str = ""
    checksum_from: str = ""


class Layout(Protocol):
    """How the files of a source become a grey stack and instance ids on the same grid."""

    def image(self, image: Sequence[Path], labels: Sequence[Path]) -> Stack: ...

    def ids(self, image: Sequence[Path], labels: Sequence[Path]) -> Stack: ...


@dataclass(frozen=True)
class Part:
    """A stack of a source and its labels: patterns that the ends of the files' paths match.

    Single files, or slices such as ``Train_In/*.png``.
    """

    image: str
    labels: str


@dataclass(frozen=True)
class Recipe:
    """A volume that is made from a data set.

    Attributes
    ----------
    parts
        Stacks that are put behind each other in z.
    split
        z-ranges; or ``train``, ``val`` or ``test`` for all of it.
    slices
        Number of slices of the whole, where it is known.
    suffix
        Of the volume's name, where a data set has several. With ``*`` there is a volume for each
        file that the image's pattern finds: both ``*`` stand for the same.
    """

    parts: tuple[Part, ...]
    split: str
    slices: int | None = None
    suffix: str = ""


@dataclass(frozen=True)
class Entry:
    """A published data set.

    Attributes
    ----------
    task
        What its ids are.
    voxel_size
        z, y, x in nm.
    shape
        z, y, x of each volume; in words where they differ or a side is not known.
    licence, citation
        Terms of use, and what to cite.
    page
        Where the source describes it.
    official_split
        How the source divides it; the volume's own split says which of its slices are which.
    how
        What to do when there is no download, or when it fails.
    ids
        How stored values became instance ids, and other things to know.
    verified
        Pages from which these facts are; what they do not say is marked.
    """

    name: str
    title: str
    tissue: str
    task: Task
    voxel_size: VoxelSize
    shape: tuple[int, int, int] | str
    licence: str
    citation: str
    page: str
    official_split: str
    how: str
    ids: str
    layout: Layout
    recipes: tuple[Recipe, ...]
    downloads: tuple[Download, ...] = ()
    verified: tuple[str, ...] = field(default=())

    @property
    def shape_text(self) -> str:
        """The shape as it is shown."""
        return self.shape if isinstance(self.shape, str) else " × ".join(map(str, self.shape))

    @property
    def got(self) -> str:
        """``download``, or ``by hand`` where the source asks for registration or a manual step."""
        return "download" if self.downloads else "by hand"
