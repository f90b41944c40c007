"""The ``emsam`` command."""

from emsam.cli.app import main

__all__ = ["main"]
