"""From an entry of the catalog to volumes."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path, PurePosixPath

from emsam.data.catalog.archives import unpack
from emsam.data.catalog.entry import Entry, Recipe
from emsam.data.catalog.pool import Pool, list_files, patterns_of, split_archives
from emsam.data.catalog.raw_files import (
    Stage,
    check_given,
    digest_of,
    fetch,
    recorded_checksums,
    remove_downloads,
)
from emsam.data.catalog.stacks import Joined
from emsam.data.ingest import Source, ingest_volume
from emsam.data.readers import Stack
from emsam.data.store import Volume
from emsam.documents import whole_folder, write_whole
from emsam.errors import InputError
from emsam.locks import try_lock

_BYTES_A_VOXEL = 16
"""An image of 8 bits and ids of 64, and as much again."""
_LARGEST = 64 << 30
"""Bytes that a data set of unknown shape may unpack to."""


@dataclass(frozen=True)
class Places:
    """Where things go.

    Attributes
    ----------
    downloads
        Cache of downloaded files, of all data sets.
    store
        From the name of a volume to its store.
    mirror
        Folder on the web that has ``<data set>/<file>`` in place of the sources; empty for none.
    """

    downloads: Path
    store: Callable[[str], Path]
    mirror: str = ""

    def folder(self, entry: Entry) -> Path:
        """Downloaded files of a data set."""
        return self.downloads / entry.name


def get_volumes(
    entry: Entry,
    places: Places,
    stage: Stage,
    *,
    name: str = "",
    given: Sequence[Path] = (),
    keep: bool = True,
) -> list[Volume]:
    """Fetch a data set, or take ``given`` files, and make its volumes; what is there is kept.

    Can be interrupted anywhere and called again. Files of the source are checked and archives
    unpacked into the cache, from where they are gone when the volumes are made.

    Parameters
    ----------
    name
        What the volume is called, in place of the data set; begins the names of several.
    given
        Files, folders and archives that were downloaded by hand.
    keep
        Whether downloaded files stay in the cache.

    Raises
    ------
    InputError
        As :func:`~emsam.data.catalog.raw_files.fetch`, and a data set that has to be fetched by
        hand, files that are not those of the source, damaged archives, input that the checks of
        :func:`~emsam.data.ingest.ingest_volume` refuse, a volume of that name made from something
        else, or another process that gets the same data set.
    """
    base = name or entry.name
    if (there := _volumes_there(entry, base, places)) is not None:
        return there
    folder = places.folder(entry)
    with _only_one(entry, folder):
        pool = _pool(entry, places, given, stage)
        volumes = [_make(entry, recipe, base, pool, places, stage) for recipe in pool.recipes()]
        write_whole(_made(entry, base, places), "\n".join(each.info.name for each in volumes))
        shutil.rmtree(folder / "unpacked", ignore_errors=True)
        if not keep:
            remove_downloads(entry, folder)
    return volumes


def volume_name(base: str, recipe: Recipe) -> str:
    """Name of the volume that a recipe makes."""
    return f"{base}-{recipe.suffix}" if recipe.suffix else base


def is_volume_of(entry: Entry, store: Path) -> bool:
    """Whether ``store`` is a volume that was made from a data set of the catalog."""
    return store.exists() and Volume(store).info.provenance.get("catalog") == entry.name


def _volumes_there(entry: Entry, base: str, places: Places) -> list[Volume] | None:
    """The volumes if all are made; something else under such a name is refused."""
    names = [volume_name(base, recipe) for recipe in entry.recipes if recipe.suffix != "*"]
    made = _made(entry, base, places)
    if len(names) < len(entry.recipes) and made.is_file():  # one for each file of the source
        names = made.read_text().split()
    stores = [places.store(each) for each in names]
    for store in stores:
        if store.exists() and not is_volume_of(entry, store):
            raise InputError(
                f"{store}: exists already and is not {entry.name}; choose another name with --as, "
                f"or remove {store.parent} first"
            )
    whole = len(stores) >= len(entry.recipes) and all(store.exists() for store in stores)
    return [Volume(store) for store in stores] if whole else None


def _made(entry: Entry, base: str, places: Places) -> Path:
    """The names of the volumes that were made."""
    return places.folder(entry) / f"volumes-{base}.txt"


@contextmanager
def _only_one(entry: Entry, folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "lock").touch()
    except OSError as error:
        raise InputError(
            f"{folder}: cannot hold the files of {entry.name} ({error.strerror or error}); free "
            "space, or set EMSAM_DOWNLOADS_ROOT to another folder"
        ) from None
    with try_lock(folder / "lock") as mine:
        if not mine:
            raise InputError(f"{folder}: another process gets {entry.name}; wait for it")
        yield


def _pool(entry: Entry, places: Places, given: Sequence[Path], stage: Stage) -> Pool:
    """All files, archives unpacked."""
    folder = places.folder(entry)
    if not given and not entry.downloads:
        raise InputError(
            f"{entry.name}: cannot be fetched by a program; {entry.how}; then "
            f"'emsam data get {entry.name} --from PATH'"
        )
    if given:
        files = list_files(given)
        for path in files.values():
            check_given(entry, path, folder)
    else:
        fetched = fetch(entry, folder, places.mirror, stage)
        files = {PurePosixPath(name): path for name, path in fetched.items()}
    plain, archives = split_archives(files)
    if archives:
        plain |= _unpacked(entry, archives, folder / "unpacked", stage)
    return Pool(entry, plain)


def _unpacked(
    entry: Entry, archives: list[Path], folder: Path, stage: Stage
) -> dict[PurePosixPath, Path]:
    """Files of the archives; unpacked once, also if the ingest was interrupted after it."""
    whole = folder / digest_of(archives)
    if not whole.exists():
        shutil.rmtree(folder, ignore_errors=True)  # other archives, or unpacking that was killed
        folder.mkdir()
        with whole_folder(whole) as temporary:
            for i, archive in enumerate(archives):
                with stage(f"unpacking {archive.name}", True) as progress:
                    inside = temporary / str(i)
                    unpack(archive, inside, patterns_of(entry), _most(entry), progress)
                    inside.mkdir(exist_ok=True)
    return list_files([whole])


def _most(entry: Entry) -> int:
    """Bytes that the files of a data set have at most."""
    if isinstance(entry.shape, str) or None in [recipe.slices for recipe in entry.recipes]:
        return _LARGEST
    return _BYTES_A_VOXEL * prod(entry.shape) + (1 << 20)


def _make(
    entry: Entry, recipe: Recipe, base: str, pool: Pool, places: Places, stage: Stage
) -> Volume:
    name = volume_name(base, recipe)
    store = places.store(name)
    if is_volume_of(entry, store):
        return Volume(store)
    files = [(pool.find(part.image), pool.find(part.labels)) for part in recipe.parts]

    def image() -> Stack:
        return _joined(entry.layout.image(*each) for each in files)

    def ids() -> Stack:
        return _joined((entry.layout.ids(*each) for each in files), renumber=True)

    source = Source(
        image,
        {entry.task: ids},
        entry.voxel_size,
        _split(entry, recipe, image),
        entry.licence,
        provenance=_provenance(entry, places.folder(entry)),
        only_judged=recipe.split in ("val", "test"),
    )
    with stage(f"ingesting {name}", False) as progress:
        return ingest_volume(name, source, store, progress)


def _joined(stacks: Iterable[Stack], *, renumber: bool = False) -> Stack:
    """Stacks behind each other; all are closed if one of them cannot be opened."""
    with ExitStack() as stack:
        opened = [stack.enter_context(each) for each in stacks]
        whole = opened[0] if len(opened) == 1 else Joined(opened, renumber=renumber)
        stack.pop_all()
        return whole


def _split(entry: Entry, recipe: Recipe, image: Callable[[], Stack]) -> str:
    """The split as ingest takes it; a volume that is too short or too long is refused."""
    with image() as stack:
        depth, name = stack.shape[0], stack.name
    if recipe.slices is not None and depth != recipe.slices:
        raise InputError(
            f"{name}: {depth} slices, but {entry.name} has {recipe.slices}; files are missing, or "
            f"these are others: {entry.how}"
        )
    if recipe.split == "train+val":
        held_out = max(1, round(0.15 * depth))
        return f"train=0-{depth - held_out - 1},val={depth - held_out}-{depth - 1}"
    return recipe.split if "=" in recipe.split else f"{recipe.split}=0-{depth - 1}"


def _provenance(entry: Entry, folder: Path) -> dict[str, str]:
    checksums = recorded_checksums(folder)
    return {
        "catalog": entry.name,
        "page": entry.page,
        "citation": entry.citation,
        "ids": entry.ids,
        "files": ", ".join(f"{name} sha256:{each}" for name, each in sorted(checksums.items())),
    }
