"""Published data sets: what they are, how they are got, and how their files are read."""

from emsam.data.catalog.axonem import AXONEM_H, AXONEM_M
from emsam.data.catalog.cremi import CREMI_A, CREMI_B, CREMI_C
from emsam.data.catalog.entry import Entry
from emsam.data.catalog.fib25 import FIB25
from emsam.data.catalog.hippocampus import EPFL, LUCCHI_PP
from emsam.data.catalog.isbi2012 import ISBI2012
from emsam.data.catalog.kasthuri import KASTHURI_PP
from emsam.data.catalog.mitoem import MITOEM_H, MITOEM_R
from emsam.data.catalog.snemi3d import SNEMI3D

CATALOG: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        SNEMI3D, MITOEM_R, MITOEM_H, CREMI_A, CREMI_B, CREMI_C, LUCCHI_PP, EPFL, KASTHURI_PP,
        ISBI2012, FIB25, AXONEM_H, AXONEM_M,
    )
}  # fmt: skip

__all__ = ["CATALOG", "Entry"]
