"""Volumes: readers, the OME-Zarr store, checks, the synthetic volume, patches."""
