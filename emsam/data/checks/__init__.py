"""What is looked for in an image and its labels, while they become a volume and afterwards.

Errors stop an ingest and are raised as :class:`~emsam.errors.InputError`; findings that a person
should know of, but can train with, are collected as :class:`Finding`.
"""

from emsam.data.checks.checker import Checker
from emsam.data.checks.finding import Finding, SlicePair
from emsam.data.checks.refusals import check_grids, check_voxel_size

__all__ = ["Checker", "Finding", "SlicePair", "check_grids", "check_voxel_size"]
