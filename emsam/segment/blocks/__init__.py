"""Volumes larger than memory, block by block; docs/volumes.md explains how."""
