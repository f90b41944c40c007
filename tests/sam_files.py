"""Small files of SAM's layout, for the tests of pretrained weights."""

from __future__ import annotations

import torch
from torch import Tensor

from emsam.model.torchvision_ops import declare_missing_operators


def flat_state(encoder: str) -> dict[str, Tensor]:
    """A state dict of Segment Anything: all names and shapes, one number a weight.

    ``torch.save`` writes that number alone, so the file is small and still a whole checkpoint.
    """
    declare_missing_operators()
    from segment_anything import sam_model_registry

    with torch.device("meta"):
        wanted = sam_model_registry[encoder]().state_dict()
    return {
        name: torch.tensor(0.001 * index).expand(each.shape)
        for index, (name, each) in enumerate(wanted.items())
    }
