"""The pages of a TIFF in which each page is a slice."""

from __future__ import annotations

import math

import tifffile
from tifffile.tifffile import shaped_description_metadata

from emsam.errors import InputError

Page = tifffile.TiffPage | tifffile.TiffFrame
_ARRANGED = (
    "avs", "bif", "eer", "fluoview", "imagej", "lsm", "mdgel", "mmstack", "ndpi", "ndtiff", "nih",
    "ome", "philips", "qpi", "scanimage", "scn", "sis", "stk", "svs",
)  # fmt: skip
"""Formats whose metadata say which pages are slices."""


def plain_pages(name: str, file: tifffile.TiffFile) -> list[Page]:
    """The slices of a file of which each page is one; none where metadata say otherwise.

    Each page is asked for its own layout: a program that appends to a file need not keep to the
    first one. Of those that are laid out as one before, only the places of the pixels are kept.

    Raises
    ------
    InputError
        A colour image, a type that is not read, or pages of several shapes or types.
    """
    if any(getattr(file, f"is_{each}") for each in _ARRANGED):
        return []
    whole = (file.pages[number].aspage() for number in range(len(file.pages)))
    first = next((page for page in whole if not page.is_reduced), file.pages.first.aspage())
    pages: list[Page] = []
    layouts: dict[tuple[int, bool], tifffile.TiffPage] = {}
    described = 0
    for number in range(len(file.pages)):
        page = file.pages[number].aspage()
        if page.is_mask or (page.is_reduced and page.shape != first.shape):
            continue  # a smaller copy of another page, or which of its pixels count
        refuse_colour(name, page.shape, page.axes, page)
        slices = _described_slices(page)
        if page.ndim != 2 or slices is None or _holds_slices(page):
            return []
        described += slices
        refuse_different(name, first, page)
        _refuse_unread_type(name, page)
        like = layouts.setdefault(_layout(page), page)
        pages.append(page if like is page else _frame(page, like))
    return pages if described in (0, len(pages)) else []


def own_layout(name: str, file: tifffile.TiffFile, page: Page | None) -> Page | None:
    """A page of a series; whole where it is not laid out as the first one, as it would be read.

    Raises
    ------
    InputError
        A page of another shape or type than the first one.
    """
    if not isinstance(page, tifffile.TiffFrame) or page.parent is not file or page.is_virtual:
        return page
    whole, first = page.aspage(), page.keyframe
    assert first is not None
    refuse_different(name, first, whole)
    return page if _layout(whole) == _layout(first) else whole


def refuse_colour(name: str, shape: tuple[int, ...], axes: str, page: tifffile.TiffPage) -> None:
    """Raise :class:`InputError` for an image of ``shape`` and ``axes`` that is not grey."""
    palette = page.photometric == tifffile.PHOTOMETRIC.PALETTE
    if "S" in axes or "C" in axes or page.samplesperpixel > 1 or palette:
        what = "palette" if palette else f"{page.samplesperpixel} samples a pixel"
        raise InputError(
            f"{name}: a colour image (shape {shape}, {what}); convert it to grey, one channel"
        )


def refuse_different(name: str, first: tifffile.TiffPage, page: tifffile.TiffPage) -> None:
    """Raise :class:`InputError` if a page is no slice of the stack that ``first`` begins."""
    if page.shape != first.shape or page.dtype != first.dtype:
        raise InputError(
            f"{name}: page {page.index} has shape {page.shape} ({page.dtype}), the first one "
            f"{first.shape} ({first.dtype}); give one stack of equal slices"
        )


def _refuse_unread_type(name: str, page: tifffile.TiffPage) -> None:
    if page.dtype is None:
        raise InputError(
            f"{name}: page {page.index} has {page.bitspersample} bits a pixel of a type that is "
            "not read; convert it to 8 or 16 bit"
        )


def _described_slices(page: tifffile.TiffPage) -> int | None:
    """Slices of the stack that begins here, as tifffile describes it; 0 if none is described.

    ``None`` if it is no stack of this page.
    """
    if page.shaped_description is None:
        return 0
    shape = shaped_description_metadata(page.shaped_description)["shape"]
    plain = len(shape) <= 3 and tuple(shape[-2:]) == page.shape
    return math.prod(shape[:-2]) if plain else None


def _holds_slices(page: tifffile.TiffPage) -> bool:
    """Whether images of the same size hang below a page."""
    below = page.pages if page.subifds else None
    return any(each.aspage().shape == page.shape for each in below or ())


def _layout(page: tifffile.TiffPage) -> tuple[int, bool]:
    """Pages that have it in common are decoded alike."""
    return page.hash, page.is_contiguous


def _frame(page: tifffile.TiffPage, first: tifffile.TiffPage) -> tifffile.TiffFrame:
    """What differs between two pages of one layout."""
    frame = tifffile.TiffFrame(
        page.parent,
        page.index,
        offset=page.offset,
        keyframe=first,
        dataoffsets=page.dataoffsets,
        databytecounts=page.databytecounts,
    )
    frame.jpegtables = page.jpegtables
    return frame
