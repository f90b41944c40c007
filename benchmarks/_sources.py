"""The sets of the shared data, as their README describes them."""

from __future__ import annotations

from dataclasses import dataclass

from emsam.params import Task


@dataclass(frozen=True)
class Source:
    """A set of the shared data.

    Attributes
    ----------
    voxel
        z, y, x in nm.
    train, val
        First and last slice.
    labels
        The file of each task.
    stack
        The file of 3D neurite ids, if their validation slices can be scored in 3D.
    changes
        Overrides that the set cannot do without.
    """

    voxel: str
    train: tuple[int, int]
    val: tuple[int, int]
    labels: dict[Task, str]
    stack: str | None = None
    changes: tuple[str, ...] = ()

    @property
    def split(self) -> str:
        """As ``emsam data ingest --split`` takes it."""
        return "train={}-{},val={}-{}".format(*self.train, *self.val)


SOURCES = {
    "epfl6_hippocampus": Source(
        "5,5,5", (0, 45), (46, 62), {"neurites": "labels.tif", "mitochondria": "mito.tif"}
    ),
    "isbi2012_vnc": Source(
        "50,4,4", (0, 17), (19, 23), {"neurites": "labels.tif"}, stack="labels_3d.tif"
    ),
    "fib25_medulla": Source(
        "10,10,10", (0, 179), (200, 249), {"neurites": "labels.tif"}, stack="labels_3d.tif",
        changes=("train.patch=240", "segment.tile=240"),  # slices are 250² pixels
    ),
    "vnc_stack1": Source(
        "50,4.6,4.6", (0, 6), (8, 9), {"neurites": "labels.tif", "mitochondria": "mito.tif"}
    ),
    "cdeep3m_sbem_mito": Source(
        "1,1,1", (0, 13), (16, 19), {"mitochondria": "mito.tif"}  # voxel size not stated
    ),
}  # fmt: skip
