"""Slices from the files that microscopes and annotation tools write; one file a format."""

from emsam.data.readers.opening import KNOWN, open_stack
from emsam.data.readers.stack import FileDigest, Stack, VoxelSize
from emsam.data.readers.tiff import TIFF_SUFFIXES
from emsam.data.readers.unsigned import as_unsigned

__all__ = [
    "KNOWN",
    "TIFF_SUFFIXES",
    "FileDigest",
    "Stack",
    "VoxelSize",
    "as_unsigned",
    "open_stack",
]
