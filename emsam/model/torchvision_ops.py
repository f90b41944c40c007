"""Lets segment_anything import where torchvision was built for another torch.

A torchvision wheel made for CUDA registers no operators in a CPU torch, and its import then stops
at ``torchvision::nms``. Declaring the schemas is enough to import it; nothing here calls them.
"""

from __future__ import annotations

import torch

_declared: list[torch.library.Library] = []
"""Keeps the declarations alive."""


def declare_missing_operators() -> None:
    """Declare ``torchvision::nms`` and ``qnms``, if a trial import shows that they are missing."""
    if _declared:
        return
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _declared.append(library)
