"""What the tests of SAM's weights share: names, and how a call is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from emsam.errors import InputError
from emsam.model.weights import get_weights

NAME = "sam_vit_b_01ec64.pth"
NOWHERE = "http://127.0.0.1:9/nothing"


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir()) if folder.exists() else []


def refusal(call: Callable[[], object]) -> str:
    """The one line with which a call is refused."""
    with pytest.raises(InputError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def refused(file: Path, root: Path) -> str:
    """The line that refuses a checkpoint; the cache must not even come to be."""
    line = refusal(lambda: get_weights("vit_b", root, source=file, url=NOWHERE))
    assert line.startswith(f"{file}: ")
    assert not root.exists()
    return line
