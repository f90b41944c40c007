"""Memory that is used again instead of being given back and asked for anew."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -3, -4, -8
"""Parameters of glibc's ``mallopt``, from malloc.h."""
_LARGEST_KEPT = 1 << 30


@contextmanager
def keeping_memory() -> Iterator[None]:
    """In the block, freed memory stays with this process; at its end it is given back.

    By default glibc gives buffers of many megabytes back at once, and the kernel clears and maps
    every page of the next one: more work than filling it. All threads share one arena, so that
    what one frees another can use; this stays so after the block, since glibc settles it once.
    Nothing changes where the C library has no ``mallopt``.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt") or not hasattr(libc, "malloc_trim"):
        yield
        return
    libc.mallopt(_ARENA_MAX, 1)
    libc.mallopt(_MMAP_MAX, 0)
    libc.mallopt(_TRIM_THRESHOLD, _LARGEST_KEPT)
    try:
        yield
    finally:  # what glibc arrives at by itself in a process that uses large buffers
        libc.mallopt(_MMAP_MAX, 1 << 16)
        libc.mallopt(_MMAP_THRESHOLD, 32 << 20)
        libc.mallopt(_TRIM_THRESHOLD, 64 << 20)
        libc.malloc_trim(0)
