"""Data set versions: DVC for the bytes, git for the names."""

from emsam.versioning.publish import publish
from emsam.versioning.versions import DatasetVersion, difference, digest_of, versions

__all__ = ["DatasetVersion", "difference", "digest_of", "publish", "versions"]
