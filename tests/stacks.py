"""Stacks of slices: drawn, read and refused, as the tests of several rooms need them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from emsam.data.readers import open_stack
from emsam.errors import InputError

DTYPES = ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f4", "f8")


def read(location: str | Path) -> np.ndarray:
    """All slices of a stack; checks what every stack promises."""
    with open_stack(location) as stack:
        planes = list(stack)
        assert stack.shape == (len(planes), *planes[0].shape)
        assert all(plane.dtype.isnative for plane in planes)
        assert all(plane.dtype == stack.dtype.newbyteorder("=") for plane in planes)
        return np.stack(planes)


def refusal(location: str | Path) -> str:
    """The one line with which a location is refused, while it is opened or read."""
    with pytest.raises(InputError) as caught:
        read(location)
    line = str(caught.value)
    assert "\n" not in line
    assert Path(str(location)).name.split(":")[0] in line, line
    return line


def read_or_refusal(location: str | Path) -> tuple[np.ndarray | None, str]:
    """The stack, or why it was refused; any other exception is a bug."""
    try:
        return read(location), ""
    except InputError as error:
        return None, str(error)


def never_half(path: Path, location: str | Path, stack: np.ndarray, cuts: int = 25) -> None:
    """A file that is cut anywhere is refused in one line, or still whole."""
    content = path.read_bytes()
    size = len(content)
    for length in sorted({*range(0, size, max(1, size // cuts)), size - 1}):
        path.write_bytes(content[:length])
        got, line = read_or_refusal(location)
        if got is None:
            assert "\n" not in line
            assert path.name in line
        else:  # what was cut off held no voxels
            np.testing.assert_array_equal(got, stack, err_msg=f"cut after {length} bytes")


def stacks(dtypes: tuple[str, ...] = DTYPES, most: int = 9) -> st.SearchStrategy[np.ndarray]:
    """Small z,y,x arrays of any of ``dtypes``, in either byte order, without NaN."""
    shapes = npst.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=most)

    def arrays(dtype: str) -> st.SearchStrategy[np.ndarray]:
        kind = np.dtype(dtype)
        if kind.kind == "f":
            elements = npst.from_dtype(kind, allow_nan=False, allow_infinity=False)
        else:
            elements = npst.from_dtype(kind)
        return npst.arrays(kind, shapes, elements=elements, fill=st.nothing())

    orders = st.sampled_from("<>")
    return st.tuples(orders, st.sampled_from(dtypes)).flatmap(lambda each: arrays("".join(each)))


def offered(path: Path) -> tuple[float, float, float] | None:
    """The voxel size that a file says."""
    with open_stack(path) as stack:
        return stack.voxel_size


def ids_of(store: Path) -> np.ndarray:
    """Full resolution of a label image, (z, y, x)."""
    return np.asarray(zarr.open_array(store / "0", mode="r"))
