"""What JSON can hold."""

from __future__ import annotations

import math
from typing import Any


def finite_or_none(tree: Any) -> Any:
    """Nested lists and mappings with ``None`` for every NaN and infinity."""
    if isinstance(tree, dict):
        return {key: finite_or_none(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [finite_or_none(value) for value in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree
