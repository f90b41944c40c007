"""What files call their axes."""

from __future__ import annotations

from collections.abc import Sequence

from emsam.errors import InputError

_SHORT = {"channel": "c", "channels": "c", "time": "t"}


def known_axes(names: Sequence[object]) -> tuple[str, ...]:
    """Names as t, c, z, y, x; none where one of them means something else."""
    lower = [str(each).lower() for each in names]
    short = tuple(_SHORT.get(each, each) for each in lower)
    return short if set(short) <= set("tczyx") else ()


def spatial_axes(names: Sequence[str], shape: Sequence[int], name: str) -> tuple[int, ...]:
    """Which axes are z, y, x; those of length 1 that are none are left out.

    Raises
    ------
    InputError
        Several times or channels, or z, y, x in another order.
    """
    kept = []
    for index, (axis, side) in enumerate(zip(names, shape, strict=True)):
        if axis in ("x", "y", "z"):
            kept.append(index)
        elif side != 1:
            raise InputError(
                f"{name}: {side} entries along the axis {axis!r}; give an image of one time and "
                "one channel"
            )
    order = "".join(names[index] for index in kept)
    if order not in ("zyx", "yx"):
        raise _other_order(names, name)
    return tuple(kept)


def refuse_other_order(names: Sequence[object], shape: Sequence[int], name: str) -> None:
    """Refuse an array that says that it is no stack of z, y, x; one that says nothing is taken.

    Raises
    ------
    InputError
        See :func:`spatial_axes`; also axes of length 1 that come last.
    """
    known = known_axes(names)
    if len(known) == len(shape) and spatial_axes(known, shape, name)[-1] != len(shape) - 1:
        raise _other_order(known, name)


def _other_order(names: Sequence[str], name: str) -> InputError:
    return InputError(f"{name}: its axes are {', '.join(names)}; write it in the order z, y, x")
